package control

// kept is what earlier runs left of a network that a daemon begins with; state.go
// lists the files.
type kept struct {
	identity identity
	memory   memory
	own      ownNames
	names    map[string]string // by names.json
	blocked  []blockedNode
	pins     map[string]string // by routes.json
	notices  []string          // what was damaged or set aside, for a person
}

func loadKept(stateDir, network string) (k kept, err error) {
	var identity, memory, names string
	if k.identity, identity, err = loadIdentity(stateDir, network); err != nil {
		return kept{}, err
	}
	if k.memory, memory, err = loadMemory(stateDir, network); err != nil {
		return kept{}, err
	}
	if k.own, err = loadOwnNames(stateDir, network); err != nil {
		return kept{}, err
	}
	if k.names, names, err = loadNames(stateDir, network); err != nil {
		return kept{}, err
	}
	if k.blocked, err = loadBlocked(stateDir, network); err != nil {
		return kept{}, err
	}
	if k.pins, err = loadPins(stateDir, network); err != nil {
		return kept{}, err
	}
	for _, text := range []string{identity, memory, names} {
		if text != "" {
			k.notices = append(k.notices, text)
		}
	}
	return k, nil
}
