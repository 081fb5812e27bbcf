// Package sessiontest runs a hub for the tests of a protocol: a test makes the hub and says what it serves, Run gives it a
// server on a free port until the test ends, and looks then whether anything was left behind.
package sessiontest
