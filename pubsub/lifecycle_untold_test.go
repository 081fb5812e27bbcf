package pubsub

import "testing"

// TestMembersToldAnewAreToldAgainBehindTheNextFailover: the next server has them, and may lack the end of the epoch with their entries.
func TestMembersToldAnewAreToldAgainBehindTheNextFailover(t *testing.T) {
	t.Parallel()
	r := newRedis(t, RedisConfig{URL: "redis://127.0.0.1:1", Node: "a", Lifecycle: LifecycleConfig{On: true}})
	repair := func(want bool, when string) {
		t.Helper()
		anew := r.untold(common)
		if anew != want {
			t.Errorf("%s: told anew: %t", when, anew)
		}
		r.toldAll(common, 0, anew)
	}
	r.lifecycle.seen(common, "e1", "")
	repair(false, "at first")
	r.lifecycle.seen(common, "e2", "e1")
	repair(false, "behind a failover")
	r.lifecycle.seen(common, "f1", "x")
	repair(true, "on another branch")
	repair(false, "once that was done")
	r.lifecycle.seen(common, "f2", "f1")
	repair(true, "behind a failover of that branch")
	repair(false, "once that was done, too")
}
