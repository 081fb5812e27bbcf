// Package plain is for clients that speak no protocol: their messages are published verbatim, and events come as
// their data alone, or in hub.v1's envelope where they ask for positions.
package plain
