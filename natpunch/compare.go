package natpunch

import "slices"

// evaluate compares the answers. An old status stands while a new measurement
// has brought none.
func (f *survey) evaluate(s *STUN) {
	if len(f.answers) == 0 && f.wanted > 0 {
		return
	}
	st := FamilyStatus{Servers: len(f.answers)}
	for _, a := range f.answers {
		if a.discover {
			st.BehaviorDiscovery++
		}
		if !slices.Contains(st.Reflexive, a.mapped) && len(st.Reflexive) < maxReflexiveAddrs {
			st.Reflexive = append(st.Reflexive, a.mapped)
		}
	}
	if len(f.answers) > 0 {
		translated := !slices.Contains(s.own, f.answers[0].mapped.Addr())
		preserved := f.answers[0].mapped.Port() == s.port
		if len(s.own) > 0 {
			st.Translated = &translated
		}
		if s.port != 0 {
			st.PortPreserved = &preserved
		}
		st.Mapping = mapping(f.answers)
		if len(s.own) > 0 && !translated && preserved {
			st.Mapping = EndpointIndependent
		}
	}
	st.Detail = st.detail(len(f.servers) > 0)
	f.status = st
}

// mapping compares what servers saw, as RFC 5780, Section 4.3, does with the
// addresses of one server.
func mapping(answers []answer) MappingBehavior {
	result := UnknownBehavior
	for i, a := range answers {
		for _, b := range answers[:i] {
			sameAddress := a.server.Addr() == b.server.Addr()
			switch {
			case a.mapped == b.mapped && !sameAddress:
				result = max(result, EndpointIndependent)
			case a.mapped != b.mapped && sameAddress:
				return AddressAndPortDependent
			case a.mapped != b.mapped:
				result = max(result, AddressDependent)
			}
		}
	}
	return result
}
