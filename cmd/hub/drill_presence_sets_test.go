package main

import (
	"testing"
	"time"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// TestPresenceIsRightBehindAFailover kills masters of which a replica takes the place, while clients come and go. The replica may lack the
// last changes: hubs enter and take off what differs.
func TestPresenceIsRightBehindAFailover(t *testing.T) {
	drills.Programs(t)
	path := buildHub(t)
	for kind, run := range map[string]func(t *testing.T, path string){"sentinel": presenceWithSentinels, "cluster": presenceInACluster} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			run(t, path)
		})
	}
}

func presenceWithSentinels(t *testing.T, path string) {
	set := redistest.StartSentinel(t, redistest.Proxied())
	d := newPresenceDrillAt(t, newDrillWithout(t, path), set.URL())
	defer d.end()
	d.master = func() string { return set.Master().Addr() }
	master := set.Master()
	d.churn(func() {
		master.Kill()
		set.WaitMaster(master)
	})
	d.settle("a master is killed")
	master.Restart()
	set.WaitHealthy()
	d.churn(set.Failover)
	d.settle("SENTINEL FAILOVER")
}

func presenceInACluster(t *testing.T, path string) {
	set := redistest.StartCluster(t, 3, 1, redistest.Proxied())
	d := newPresenceDrillAt(t, newDrillWithout(t, path), set.URL())
	defer d.end()
	const slot = 32 // of partition 0, where the leases are
	master := set.Master(slot)
	d.churn(func() {
		master.Kill()
		set.WaitMaster(slot, master)
		d.pass(time.Second)
	})
	d.settle("the master of the leases is killed")
	master.Restart()
	set.WaitHealthy()
	d.churn(func() { set.Failover(set.ReplicaOf(set.Master(slot))) })
	d.settle("CLUSTER FAILOVER")
}
