//go:build race

package relayd

// raceDetector needs many times the memory.
const raceDetector = true
