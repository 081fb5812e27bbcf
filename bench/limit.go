package bench

import (
	"fmt"
	"runtime"
)

// muchElse is the share of all cores that others may take without a word.
const muchElse = 0.3

// muchStolen is the share of all cores that other guests of a virtual machine's host may take without a word. With
// less the 99th percentile of rooms stays near 1 ms, with a tenth of the time stolen it is 20 to 30 ms.
const muchStolen = 0.02

func cores() int { return runtime.NumCPU() }

// limitOf says why a figure may tell more of hubbench, or of a shared machine, than of the server. It is
// empty where neither was at its end.
func limitOf(c ClientPart, load *LoadPart) string {
	switch {
	case c.Busy > 0.9:
		return fmt.Sprintf("the client was the limit: one of its loops was busy %.0f%% of the time (--loops, --shards, or another machine)", 100*c.Busy)
	case load.Sent > 0 && load.Sent < keepUp*load.Offered && !load.kept():
		return fmt.Sprintf("the publisher was the limit: %s of %s events/s left", si(load.Sent), si(load.Offered))
	case load.Lag > 5 && load.Lag > load.Latency.P99/2:
		return fmt.Sprintf("the publisher was late: p99 %s ms of the latency is its own", short(load.Lag))
	case c.Machine > 0.95 && !load.kept():
		return fmt.Sprintf("the machine was full (%.0f%% of all cores): client and server held each other back", 100*c.Machine)
	}
	return ""
}
