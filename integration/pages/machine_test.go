package pages

import "testing"

// Every command of every page of the scene machine does what the page says.
func TestMachine(t *testing.T) {
	var pages []page
	for _, p := range readPages(t) {
		if p.scene == "machine" && len(p.steps) > 0 {
			pages = append(pages, p)
		}
	}
	m := newMachine(t, programs)
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			defer m.booted.TellWhy(t)
			play(t, p, m.do)
		})
	}
}
