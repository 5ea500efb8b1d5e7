package nft

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table is one table of the inet family.
type Table struct {
	nft *nftables.Table
	log *slog.Logger

	mu     sync.Mutex
	conn   *nftables.Conn
	raw    *netlink.Conn // conn's own socket: the kernel knows the owner by it
	watch  *watch
	closed bool
	chains []Chain // as Set wants them; none: no table
	there  bool    // the table was made
	owned  bool

	lasting bool // OpenLasting's
	noOwner bool
}

var (
	// ErrTaken means that another process owns a table of this name.
	ErrTaken = errors.New("owned by another process")
	// ErrClosed means that the Table was closed.
	ErrClosed = errors.New("table is closed")
)

// Open opens a table's sockets in the caller's network namespace, and removes
// a table of its name. A nil log discards.
func Open(name string, log *slog.Logger) (*Table, error) {
	t, err := open(name, log)
	if err != nil {
		return nil, err
	}
	if err := t.clear(); err != nil {
		return nil, errors.Join(err, t.conn.CloseLasting(), t.watch.close())
	}
	return t, nil
}

// OpenLasting is Open for a table that outlives the process: Open finds what
// another process left of it, and Close leaves it. Nobody owns it, so that a
// firewall's reload takes it away until Run puts it back.
func OpenLasting(name string, log *slog.Logger) (*Table, error) {
	t, err := open(name, log)
	if err != nil {
		return nil, err
	}
	t.lasting, t.noOwner = true, true
	if t.there, err = t.exists(); err != nil {
		return nil, errors.Join(err, t.conn.CloseLasting(), t.watch.close())
	}
	return t, nil
}

// Remove removes a table of this name that no process owns, if there is one.
func Remove(name string) error {
	t, err := open(name, nil)
	if err != nil {
		return err
	}
	return errors.Join(t.clear(), t.conn.CloseLasting(), t.watch.close())
}

func open(name string, log *slog.Logger) (*Table, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &Table{
		nft: &nftables.Table{Name: name, Family: nftables.TableFamilyINet},
		log: log,
	}
	var err error
	if t.watch, err = newWatch(name); err != nil {
		return nil, err
	}
	t.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		t.raw = c
		return nil
	}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", err), t.watch.close())
	}
	return t, nil
}

// Set makes these chains all that the table has, in one transaction; without
// any there is no table.
func (t *Table) Set(chains []Chain) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.chains = chains
	switch {
	case len(chains) == 0 && !t.there:
		return nil
	case len(chains) == 0:
		t.there = false
		return errors.Join(t.watch.listen(false), t.remove())
	case t.there && t.watch.listening && t.replace() == nil:
		return nil
	default:
		return t.install()
	}
}

// WithoutOwner makes the table anew as kernels before 5.12 have it, for tests.
func (t *Table) WithoutOwner() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noOwner = true
	return t.install()
}

// Close takes the table away, unless it is a lasting one. Closing twice is no
// error.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	var err error
	if t.there && !t.lasting {
		err = t.remove()
	}
	return errors.Join(err, t.conn.CloseLasting(), t.watch.close())
}

// install makes the table anew, whatever is there.
func (t *Table) install() error {
	if t.lasting {
		// Without a moment in which what was left is not there.
		if err := t.watch.listen(true); err != nil {
			return err
		}
		t.there = true
		return t.replace()
	}
	if err := errors.Join(t.watch.listen(true), t.clear()); err != nil {
		return err
	}
	switch err := t.addOwned(); {
	case err == nil:
		t.owned = true
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		// Before 5.12 the flag is unknown.
		t.owned = false
		t.conn.AddTable(t.nft)
	default:
		return fmt.Errorf("add table %s: %w", t.nft.Name, err)
	}
	t.there = true
	return t.fill()
}

// replace changes the rules: there is no moment without.
func (t *Table) replace() error {
	if t.owned {
		// The library writes a table without its flags, which the kernel
		// refuses for an owned one: so the table stays.
		t.conn.FlushTable(t.nft)
	} else {
		t.conn.AddTable(t.nft)
		t.conn.DelTable(t.nft)
		t.conn.AddTable(t.nft)
	}
	return t.fill()
}

// clear removes a table of this name, if there is one.
func (t *Table) clear() error {
	there, err := t.exists()
	if err != nil {
		return err
	}
	if there {
		t.conn.DelTable(t.nft)
	}
	return t.flush("clear")
}

func (t *Table) exists() (bool, error) {
	tables, err := t.conn.ListTablesOfFamily(t.nft.Family)
	if err != nil {
		return false, fmt.Errorf("list nftables tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(there *nftables.Table) bool { return there.Name == t.nft.Name }), nil
}

func (t *Table) remove() error {
	t.conn.DelTable(t.nft)
	err := t.flush("remove")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// fill adds the chains to an empty table and ends the transaction.
func (t *Table) fill() error {
	for _, c := range t.chains {
		base := &nftables.Chain{Table: t.nft, Name: c.Name}
		if c.Hook != nil {
			base.Type = cmp.Or(c.Type, nftables.ChainTypeFilter)
			base.Hooknum, base.Priority = c.Hook, nftables.ChainPriorityRef(nftables.ChainPriority(c.Priority))
		}
		chain := t.conn.AddChain(base)
		for _, r := range c.Rules {
			exprs, err := t.expressions(r)
			if err != nil {
				return fmt.Errorf("add set to table %s: %w", t.nft.Name, err)
			}
			t.conn.AddRule(&nftables.Rule{Table: t.nft, Chain: chain, Exprs: exprs})
		}
	}
	return t.flush("fill")
}

// sets guards the library's numbering of sets, which all Conns share.
var sets sync.Mutex

// expressions adds the rule's sets and says what it is made of.
func (t *Table) expressions(r Rule) ([]expr.Any, error) {
	var all []expr.Any
	for _, part := range r {
		l, ok := part.(Lookup)
		if !ok {
			all = append(all, part.(expr.Any))
			continue
		}
		isMap := l.Destination != 0
		set := &nftables.Set{
			Table: t.nft, Anonymous: true, Constant: true,
			KeyType: l.Key, IsMap: isMap, DataType: l.Data,
		}
		sets.Lock()
		err := t.conn.AddSet(set, l.Elements)
		sets.Unlock()
		if err != nil {
			return nil, err
		}
		all = append(all, &expr.Lookup{
			SetName: set.Name, SetID: set.ID, Invert: l.Invert,
			SourceRegister: l.Source, DestRegister: l.Destination, IsDestRegSet: isMap,
		})
	}
	return all, nil
}

// Maps returns the elements of all maps that the table has in the kernel.
func (t *Table) Maps() ([]nftables.SetElement, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, ErrClosed
	case !t.there:
		return nil, nil
	}
	sets, err := t.conn.GetSets(t.nft)
	if err != nil {
		return nil, fmt.Errorf("list sets of table %s: %w", t.nft.Name, err)
	}
	var all []nftables.SetElement
	for _, set := range sets {
		if !set.IsMap {
			continue
		}
		elements, err := t.conn.GetSetElements(set)
		if err != nil {
			return nil, fmt.Errorf("list map of table %s: %w", t.nft.Name, err)
		}
		all = append(all, elements...)
	}
	return all, nil
}

// Chains returns the names of the chains that the table has in the kernel.
func (t *Table) Chains() ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	chains, err := t.conn.ListChainsOfTableFamily(t.nft.Family)
	if err != nil {
		return nil, fmt.Errorf("list chains of table %s: %w", t.nft.Name, err)
	}
	var names []string
	for _, c := range chains {
		if c.Table.Name == t.nft.Name {
			names = append(names, c.Name)
		}
	}
	return names, nil
}

// whole says whether every rule is there. Rules changed in place are not
// noticed: nobody does that to a table of another's.
func (t *Table) whole() (bool, error) {
	for _, c := range t.chains {
		rules, err := t.conn.GetRules(t.nft, &nftables.Chain{Table: t.nft, Name: c.Name})
		switch {
		case errors.Is(err, unix.ENOENT):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("list rules of table %s: %w", t.nft.Name, err)
		case len(rules) != len(c.Rules):
			return false, nil
		}
	}
	return true, nil
}
