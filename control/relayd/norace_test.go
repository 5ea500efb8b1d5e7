//go:build !race

package relayd

const raceDetector = false
