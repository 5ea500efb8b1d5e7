// Package pcp is the codec of the Port Control Protocol (RFC 6887): MAP and ANNOUNCE, over UDP between port 5351 of the
// gateway and any port of the host, announcements to port 5350 of all hosts. It also reads what NAT-PMP (RFC 6886)
// gateways send to hosts that speak PCP: announcements, and that they do not know version 2.
//
//	request                          response
//	 0  version 2                     0  version 2
//	 1  opcode                        1  0x80 | opcode
//	 4  requested lifetime, seconds   3  result code
//	 8  the host's address, 16        4  lifetime, seconds
//	                                  8  epoch, seconds
//	24  MAP: nonce, 12               24  as asked
//	36  protocol (17 is UDP)         36  as asked
//	40  internal port                40  as asked
//	42  suggested external port      42  assigned external port
//	44  suggested external address   44  assigned external address
//
// All numbers are big-endian, IPv4 addresses are IPv4-mapped. Options follow; none is sent, those received are skipped.
// Nothing here is secret: whoever sees a nonce can delete the mapping.
//
// The package does no I/O. Epoch is the one thing with a memory, and it takes the time.
package pcp
