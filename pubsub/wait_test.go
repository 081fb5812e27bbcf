package pubsub

import (
	"errors"
	"testing"
	"time"

	"wshub/pubsub/redistest"
)

// A publication that too few replicas have is not confirmed, though it is stored. One that stores nothing waits for
// nobody.
func TestAPublicationWaitsForReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	r, _ := running(t, RedisConfig{URL: master.URL(), History: keepAll, Wait: 1})
	stored := func() Result {
		return r.Publish(t.Context(), []Publication{{Topic: "h:a", Data: []byte("1"), Key: "k"}})[0]
	}
	if got := stored(); !errors.Is(got.Err, ErrUnknownOutcome) {
		t.Errorf("without a replica: %v", got)
	}
	if n := master.CLI("xlen", logKeys("h:a")[1]); n != "1" {
		t.Errorf("%s events are stored", n)
	}
	mustPublish(t, r, "raw", "1")
	replica := follower(t, master, 0)
	master.CLI("publish", "elsewhere", "") // its link is up up to a second before the master sends it anything
	replica.CatchUp(master)
	got := stored()
	if got.Err != nil || got.Position.IsZero() {
		t.Errorf("with a replica: %v", got)
	}
	if n := replica.CLI("xlen", logKeys("h:a")[1]); n != "1" {
		t.Errorf("the replica has %s events", n)
	}
	mustPublish(t, r, "h:a", "2")
	if n := replica.CLI("xlen", logKeys("h:a")[1]); n != "2" {
		t.Errorf("the replica has %s events", n)
	}
}

// A revocation that too few replicas have is not confirmed, yet nobody is left unaware of it.
func TestARevocationThatFewReplicasHaveIsToldAllTheSame(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	heard := make(chan []Revocation, 10)
	r, _ := running(t, RedisConfig{URL: server.URL(), Wait: 1, OnRevoked: func(list []Revocation) { heard <- list }})
	if err := r.Revoke(t.Context(), Revocation{Subject: "user:1", Until: time.Now().Add(time.Hour)}); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	select {
	case <-heard:
	case <-time.After(patience):
		t.Error("nobody was told")
	}
}
