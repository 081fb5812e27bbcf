package pubsub

import (
	"testing"

	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

func TestSentinelKeepsTheContract(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := redistest.StartSentinel(t)
	testContract(t, func(t testing.TB) Broker {
		return newRedis(t, RedisConfig{URL: set.URL(), History: contractHistory, Presence: contractPresence})
	})
	testClaims(t, func(t testing.TB) Broker { return lifecycleOn(t, set.URL()) }, lifecycleContract)
}

func TestClusterKeepsTheContract(t *testing.T) {
	drills.InProcess(t)
	t.Parallel()
	set := redistest.StartCluster(t, 3, 1)
	testContract(t, func(t testing.TB) Broker {
		return newRedis(t, RedisConfig{URL: set.URL(), History: contractHistory, Presence: contractPresence})
	})
	testClaims(t, func(t testing.TB) Broker { return lifecycleOn(t, set.URL()) }, lifecycleContract)
}
