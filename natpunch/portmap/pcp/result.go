package pcp

import "fmt"

// A Result is how a gateway took a request (RFC 6887, Section 7.4). It is an error unless it is Success.
type Result uint8

// The results.
const (
	Success               Result = 0
	UnsupportedVersion    Result = 1
	NotAuthorized         Result = 2
	MalformedRequest      Result = 3
	UnsupportedOpcode     Result = 4
	UnsupportedOption     Result = 5
	MalformedOption       Result = 6
	NetworkFailure        Result = 7
	NoResources           Result = 8
	UnsupportedProtocol   Result = 9
	UserExceededQuota     Result = 10
	CannotProvideExternal Result = 11
	AddressMismatch       Result = 12
	ExcessiveRemotePeers  Result = 13
)

var resultWords = [...]string{
	Success:               "granted",
	UnsupportedVersion:    "the gateway does not speak PCP",
	NotAuthorized:         "the gateway does not allow it to this host, or somebody else holds the port",
	MalformedRequest:      "the gateway found the request malformed",
	UnsupportedOpcode:     "the gateway speaks PCP, but maps no ports",
	UnsupportedOption:     "the gateway lacks an option that was not asked for",
	MalformedOption:       "the gateway found an option malformed that was not sent",
	NetworkFailure:        "the gateway has no connection outside",
	NoResources:           "the gateway has no public address, or no room for another mapping",
	UnsupportedProtocol:   "the gateway maps no UDP ports",
	UserExceededQuota:     "this host holds as many mappings as the gateway allows",
	CannotProvideExternal: "the gateway cannot provide that port",
	AddressMismatch:       "another NAT is between this host and the gateway",
	ExcessiveRemotePeers:  "the gateway took the request for one with filters",
}

func (r Result) Error() string {
	if int(r) < len(resultWords) {
		return resultWords[r]
	}
	return fmt.Sprintf("the gateway refused with result %d", uint8(r))
}
