//go:build race

package engine

// raceDetector: pools drop some of what they get.
const raceDetector = true
