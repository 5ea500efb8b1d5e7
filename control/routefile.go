package control

import (
	"fmt"
)

// routePins is routes.json: which node a name in the settings means.
type routePins struct {
	Comment string            `json:"comment"`
	Pins    map[string]string `json:"pins"` // id by name
}

func loadPins(stateDir, network string) (map[string]string, error) {
	var f routePins
	path, damage, err := readState(stateDir, network, "routes.json", &f)
	if err != nil {
		return nil, fmt.Errorf("read whose routes are taken: %w", err)
	}
	if err := damage; err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): remove it; the names of --accept-routes and --exit-node mean whoever is met first then", path, err)
	}
	for name, id := range f.Pins {
		if ValidNodeName(name) != nil || !isID(id) || len(f.Pins) > maxNamed+1 {
			return nil, fmt.Errorf("%s is damaged (%.80q for %.80q): remove it; the names of --accept-routes and --exit-node mean whoever is met first then", path, id, name)
		}
	}
	return f.Pins, nil
}

func savePins(stateDir, network string, pins map[string]string) error {
	f := routePins{Comment: "which node a name in --accept-routes and --exit-node means: who had it first", Pins: pins}
	if err := writeState(stateDir, network, "routes.json", replaceFileDurably, f); err != nil {
		return fmt.Errorf("remember whose routes are taken: %w", err)
	}
	return nil
}
