package control

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// routeBackAfter is how long a node that is preferred has to work before its routes
// are taken back from the one that stood in for it.
const routeBackAfter = 30 * time.Second

// routing decides whose routes are used: those of the nodes that the user named and
// of no others, each prefix from the first of them that works. A state machine:
// review is told what there is and what time it is.
type routing struct {
	accept []string // names and ids, in the order of preference
	exit   string   // empty: none

	// pins say by id which node a name of the settings means: the one that had it
	// when it was first seen. A name is for the taking, and routes must not go
	// with it.
	pins    map[string]string
	holders map[netip.Prefix]keys.NodePublic
	working map[keys.NodePublic]time.Time // since when

	plan routePlan
	next time.Time // when review has something to do by itself; zero: never
}

func newRouting(accept []string, exit string, pins map[string]string) *routing {
	r := &routing{
		accept: accept, exit: exit, pins: make(map[string]string),
		holders: make(map[netip.Prefix]keys.NodePublic), working: make(map[keys.NodePublic]time.Time),
	}
	for name, id := range pins {
		if slices.Contains(accept, name) || name == exit {
			r.pins[name] = id
		}
	}
	return r
}

// asks tells whether anything of others is wanted.
func (r *routing) asks() bool { return len(r.accept) > 0 || r.exit != "" }

// review decides anew. It reports whether what the host should be has changed, and
// whether a pin has.
func (r *routing) review(now time.Time, v routeView) (changed, pinned bool) {
	r.next = time.Time{}
	slices.SortFunc(v.members, func(a, b routeMember) int { return a.node.Compare(b.node) })
	slices.SortFunc(v.kept, func(a, b underlayName) int { return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.what, b.what)) })
	working := make(map[keys.NodePublic]time.Time)
	for _, m := range v.members {
		if m.working {
			working[m.node] = now
			if since, ok := r.working[m.node]; ok {
				working[m.node] = since
			}
		}
	}
	r.working = working
	plan := routePlan{allowed: make(map[keys.NodePublic][]netip.Prefix), words: make(map[keys.NodePublic][]routeWord)}
	rank, pinned := r.named(v, &plan)
	r.choose(now, v, rank, &plan)
	pinned = r.chooseExit(v, &plan) || pinned
	for _, list := range plan.allowed {
		slices.SortFunc(list, comparePrefix)
	}
	slices.SortFunc(plan.subnets, comparePrefix)
	changed = !plan.equal(r.plan)
	r.plan = plan
	return changed, pinned
}

// named ranks the nodes that the settings name: the lower, the more they are
// preferred.
func (r *routing) named(v routeView, plan *routePlan) (rank map[keys.NodePublic]int, pinned bool) {
	rank = make(map[keys.NodePublic]int)
	for i, word := range r.accept {
		if word == acceptAll {
			for _, m := range v.members {
				if _, ok := rank[m.node]; !ok {
					rank[m.node] = i
				}
			}
			continue
		}
		m, fresh, problem := r.resolve(word, v)
		pinned = pinned || fresh
		if problem != "" {
			plan.notices = append(plan.notices, "routes of "+word+" are not taken: "+problem)
		}
		if m == nil {
			continue
		}
		if _, ok := rank[m.node]; !ok {
			rank[m.node] = i
		}
	}
	return rank, pinned
}

// blockedHere is why a node that is named is not there.
const blockedHere = `it is blocked on this node, "credant unblock" lets it in again`

// resolve finds the node that a word of the settings means, and pins a name to the
// node that has it. An unknown node is no problem: it may come.
func (r *routing) resolve(word string, v routeView) (found *routeMember, fresh bool, problem string) {
	if isID(word) { // never a name: else a node could call itself by the id of one that is not here
		i := slices.IndexFunc(v.members, func(m routeMember) bool { return string(m.node.ID()) == word })
		if i < 0 {
			return nil, false, v.absent(word)
		}
		return &v.members[i], false, ""
	}
	var have []*routeMember
	for i := range v.members {
		m := &v.members[i]
		if id, pinned := r.pins[word]; pinned && string(m.node.ID()) == id {
			return m, false, ""
		}
		if slices.Contains(m.labels, word) {
			have = append(have, m)
		}
	}
	switch id, pinned := r.pins[word]; {
	case len(have) == 0:
		return nil, false, v.absent(id)
	case pinned:
		return nil, false, fmt.Sprintf("another node has the name now (id %s, before %s): if it is the one that you mean, name it by its id", have[0].node.ID(), id)
	case len(have) > 1:
		return nil, false, fmt.Sprintf("several nodes have the name: name one by its id: %s", idsOf(have))
	}
	r.pins[word] = string(have[0].node.ID())
	return have[0], true, ""
}

// unpin lets the names of the settings that mean a node mean another one, and tells
// whether there were any.
func (r *routing) unpin(id string) bool {
	before := len(r.pins)
	maps.DeleteFunc(r.pins, func(_, pinned string) bool { return pinned == id })
	return len(r.pins) < before
}

func idsOf(members []*routeMember) string {
	var ids []string
	for _, m := range members[:min(len(members), 4)] {
		ids = append(ids, string(m.node.ID()))
	}
	return strings.Join(ids, ", ")
}

// choose finds for each prefix the node that it leads to.
func (r *routing) choose(now time.Time, v routeView, rank map[keys.NodePublic]int, plan *routePlan) {
	names := make(map[keys.NodePublic]string)
	offers := make(map[netip.Prefix][]keys.NodePublic) // best first
	var order []netip.Prefix
	members := slices.Clone(v.members)
	slices.SortStableFunc(members, func(a, b routeMember) int { return cmp.Compare(rank[a.node], rank[b.node]) })
	for _, m := range members {
		names[m.node] = m.name
		if _, ok := rank[m.node]; !ok {
			continue
		}
		for _, p := range m.routes {
			if isEverything(p) || v.refuses(p, &m) != "" {
				continue
			}
			if offers[p] == nil {
				order = append(order, p)
			}
			offers[p] = append(offers[p], m.node)
		}
	}
	holders := make(map[netip.Prefix]keys.NodePublic)
	if len(order) > maxAccepted {
		// Where not all fit, those that lead somewhere come first: records alone
		// are free to make.
		idle := func(p netip.Prefix) int {
			if slices.ContainsFunc(offers[p], func(n keys.NodePublic) bool { _, ok := r.working[n]; return ok }) {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(order, func(a, b netip.Prefix) int {
			return cmp.Or(cmp.Compare(rank[offers[a][0]], rank[offers[b][0]]), cmp.Compare(idle(a), idle(b)))
		})
	}
	for _, p := range order[:min(len(order), maxAccepted)] {
		holders[p] = r.holder(now, r.holders[p], offers[p])
		plan.allowed[holders[p]] = append(plan.allowed[holders[p]], p)
		plan.subnets = append(plan.subnets, p)
		if p.Bits() < wideRoute {
			plan.notices = append(plan.notices, fmt.Sprintf("the route %s to %s is very wide: ask for a narrower one there", p, names[holders[p]]))
		}
	}
	r.holders = holders
	for _, m := range v.members {
		_, accepts := rank[m.node]
		for _, p := range m.routes {
			w := routeWord{prefix: p, state: routeOffered}
			why := ""
			if accepts {
				why = v.refuses(p, &m)
			}
			holder, held := holders[p]
			switch {
			case isEverything(p), !accepts:
			case why != "":
				w.state, w.reason = routeRefused, why
				plan.notices = append(plan.notices, fmt.Sprintf("the route %s to %s is not used: %s", p, m.name, why))
			case !held:
				w.state, w.reason = routeRefused, fmt.Sprintf("there are %d other routes already", maxAccepted)
			case holder == m.node:
				w.state = routeAccepted
				if !m.working {
					w.reason = "the node does not answer"
				}
			default:
				w.state, w.reason = routeStandby, "it leads to "+names[holder]+" now"
			}
			plan.words[m.node] = append(plan.words[m.node], w)
		}
	}
}

// holder chooses among the nodes that offer a prefix. Whoever has it keeps it while
// it works, until one that is preferred has worked for a while; where none works,
// nothing changes, so that packets do not leave by another way meanwhile.
func (r *routing) holder(now time.Time, current keys.NodePublic, offers []keys.NodePublic) keys.NodePublic {
	at := slices.Index(offers, current)
	_, works := r.working[current]
	for i, node := range offers {
		since, ok := r.working[node]
		switch {
		case !ok || i == at:
			if i == at && works {
				return current
			}
		case at < 0, !works:
			return node
		case i > at:
			return current
		case now.Sub(since) >= routeBackAfter:
			return node
		default:
			r.wake(since.Add(routeBackAfter))
		}
	}
	if at >= 0 {
		return current
	}
	return offers[0]
}

func (r *routing) wake(t time.Time) {
	if r.next.IsZero() || t.Before(r.next) {
		r.next = t
	}
}

// chooseExit finds the exit node. Whatever comes of it, all traffic leads into the
// tunnel once one is asked for: what nobody takes there is lost, and does not leak.
func (r *routing) chooseExit(v routeView, plan *routePlan) (pinned bool) {
	if r.exit == "" {
		return false
	}
	e := exitPlan{name: r.exit}
	m, fresh, problem := r.resolve(r.exit, v)
	const meanwhile = "nothing else leaves this host meanwhile; to leave by the host's own way, start the network without --exit-node"
	switch {
	case problem == blockedHere:
		e.state, e.text = "blocked", fmt.Sprintf("the exit node %s is not used: %s; %s", r.exit, problem, meanwhile)
	case problem != "":
		e.state, e.text = "unknown", fmt.Sprintf("the exit node %s is not used: %s; %s", r.exit, problem, meanwhile)
	case m == nil:
		e.state, e.text = "unknown", fmt.Sprintf("the exit node %s is not known yet: %s", r.exit, meanwhile)
	default:
		e.node = m.node
		for _, p := range m.routes {
			if isEverything(p) {
				plan.allowed[m.node] = append(plan.allowed[m.node], p)
				for i := range plan.words[m.node] {
					if w := &plan.words[m.node][i]; w.prefix == p {
						w.state = routeAccepted
					}
				}
			}
		}
		switch {
		case !slices.ContainsFunc(m.routes, isEverything):
			e.state, e.text = "not offered", fmt.Sprintf("%s does not offer to be an exit node: start it with --advertise-exit-node; %s", m.name, meanwhile)
		case !m.working:
			e.state, e.text = "away", fmt.Sprintf("the exit node %s does not answer: %s", m.name, meanwhile)
		default:
			e.state = "working"
		}
	}
	if e.text != "" {
		plan.notices = append(plan.notices, e.text)
	}
	plan.exit = e
	return fresh
}
