package main

import (
	"fmt"

	"wshub/engine"
)

// fewConnections is fewer than anybody runs a hub for on purpose.
const fewConnections = 1000

// roomNotes warn of an open-file limit that leaves room for few connections.
func (c *config) roomNotes() []string {
	limit := engine.ConnectionLimit()
	if limit >= fewConnections || c.MaxConnections < limit {
		return nil
	}
	return []string{fmt.Sprintf("The open-file limit leaves room for %d connections only: raise it (ulimit -n, LimitNOFILE).", limit)}
}
