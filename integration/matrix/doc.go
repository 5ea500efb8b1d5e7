// Command matrix measures, for every two kinds of place that a host can be at (lab.Kinds), whether two nodes there come
// to talk directly, how long that takes and what the move from the relay to the direct path loses, beside what theory
// says. Each pair is tried with a relay, with a member that both can reach, and with nothing but the DHT.
//
// The time runs from the second node's start, its network key derived already, until both nodes' status says that the
// path is direct and a ping over it was answered. The first node had settled before. Losses are counted in numbered
// datagrams both ways, from the first ping over the relay on until some time after the move.
//
// "make matrix" runs all of it and writes docs/matrix.md; TestMatrixSample runs a few pairs, and fails where theory says
// direct and the nodes are not, or not in time. Needs root and the built programs. Start reading at theory.go, then
// run.go.
package main
