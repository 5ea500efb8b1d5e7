// Package firewall lets a network's packets through the firewall that the host
// has already, with that firewall's own tools: ufw, and Docker's DOCKER-USER
// chain. What it adds carries a comment that names the network, so that it is
// found and taken away without a record of ours.
//
// Only packets that pass through are let: from the network's device, from its
// addresses, to the networks that are to be reached, and their answers. Which
// of them may is for the caller's own rules to say too.
//
// Where there is no such tool and packets would be dropped, it says which
// command would do. firewalld is asked over D-Bus whether it would drop them, and
// is not changed (firewalld_linux.go says why): what its commands open besides is
// a person's decision.
//
// Programs run in the caller's network namespace. It takes CAP_NET_ADMIN and
// root's file permissions. Start reading at Open.
package firewall
