package wgsetup

import (
	"maps"
	"slices"
)

// setting is one below /proc/sys.
type setting struct{ path, value string }

// hostLinks are the links of the host that are no devices of ours.
type hostLinks struct {
	plain, bridges []string
}

// hostPlan is what Forward and Exit take on the host: first the record goes
// into the table, then set is written, put back what is not wanted any more,
// and what then is left of the record stays.
type hostPlan struct {
	record record // while the steps are taken
	set    []setting
	back   []setting
	after  record
}

// planHost compares what is wanted with the settings that read tells ("" for
// one that there is not). Others tells what another network's record says of a
// setting.
func planHost(d Desired, old record, links hostLinks, read func(path string) string, others func(path string) (was string, ok bool)) hostPlan {
	var p hostPlan
	p.record = record{was: maps.Clone(old.was), plain: old.plain, bridges: old.bridges}
	if p.record.was == nil {
		p.record.was = make(map[string]string)
	}
	wanted := make(map[string]bool)
	want := func(path, value string) {
		now := read(path)
		if now == "" {
			return
		}
		wanted[path] = true
		if was, ok := others(path); ok && p.record.was[path] == "" {
			p.record.was[path] = was
		}
		if now == value {
			return
		}
		if p.record.was[path] == "" {
			p.record.was[path] = now
		}
		p.set = append(p.set, setting{path, value})
	}
	v4, v6 := forwards(d.Forward)
	if v6 {
		// A host that forwards stops to hear routers, unless told twice: before
		// it begins, for it then forgets those it knew.
		was, _ := others(forwardSetting6)
		if read(forwardSetting6) == "0" || p.record.opened(true) || was == "0" {
			for _, l := range slices.Concat([]string{"default"}, links.plain, links.bridges) {
				_, shared := others(acceptRouters(l))
				if shared || read(acceptRouters(l)) == "1" || p.record.was[acceptRouters(l)] != "" {
					want(acceptRouters(l), "2")
				}
			}
		}
		want(forwardSetting6, "1")
	}
	if v4 {
		want(forwardSetting4, "1")
	}
	if d.Exit != nil && d.Exit.V4 {
		want(markSetting, "1")
	}
	if len(old.links()) == 0 && (p.record.opened(false) || p.record.opened(true)) {
		p.record.plain, p.record.bridges = links.plain, links.bridges
	} else if p.record.opened(false) || p.record.opened(true) {
		// A network card that was plugged in. Bridges are containers' and
		// virtual machines'.
		for _, l := range links.plain {
			if !slices.Contains(p.record.plain, l) {
				p.record.plain = append(slices.Clip(p.record.plain), l)
			}
		}
	}
	p.after = record{was: make(map[string]string)}
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(p.record.was))) {
		was := p.record.was[path]
		switch _, shared := others(path); {
		case wanted[path]:
			p.after.was[path] = was
		case shared:
			// The other network puts it back.
		case (path == forwardSetting4 || path == forwardSetting6) && slices.ContainsFunc(links.bridges, func(l string) bool {
			return !slices.Contains(p.record.bridges, l)
		}):
			// Somebody who came later forwards too.
		case read(path) != was && read(path) == ours(path):
			p.back = append(p.back, setting{path, was})
		}
	}
	// Links that forwarded before are put back to hear routers after
	// forwarding ended.
	slices.SortStableFunc(p.back, func(a, b setting) int {
		_, aLink := acceptsRouters(a.path)
		_, bLink := acceptsRouters(b.path)
		switch {
		case aLink == bLink:
			return 0
		case aLink:
			return 1
		}
		return -1
	})
	if p.after.opened(false) || p.after.opened(true) {
		p.after.plain, p.after.bridges = p.record.plain, p.record.bridges
	}
	return p
}

// ours is what we set a setting to.
func ours(path string) string {
	if _, ok := acceptsRouters(path); ok {
		return "2"
	}
	return "1"
}

// forwards says which families a Forward takes.
func forwards(f *Forward) (v4, v6 bool) {
	if f == nil {
		return false, false
	}
	v4, v6 = f.Exit, f.Exit
	for _, x := range f.Advertised {
		v4, v6 = v4 || x.Addr().Is4(), v6 || x.Addr().Is6()
	}
	return v4, v6
}
