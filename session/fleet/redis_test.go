package fleet

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"wshub/pubsub"
	"wshub/pubsub/redistest"
	"wshub/pubsub/redistest/drills"
)

// nobody follows anything.
type nobody struct{}

func (nobody) Deliver(*pubsub.Event, pubsub.Loops)   {}
func (nobody) Gap(string, pubsub.Loops, pubsub.Loss) {}
func (nobody) Moved(*pubsub.Moved, pubsub.Loops)     {}
func (nobody) HandOver()                             {}

func TestNodesAskEachOtherByRedis(t *testing.T) {
	for kind, url := range map[string]func(testing.TB) string{
		"single":   func(t testing.TB) string { return redistest.Start(t).URL() },
		"sentinel": func(t testing.TB) string { return redistest.StartSentinel(t).URL() },
		"cluster":  func(t testing.TB) string { return redistest.StartCluster(t, 3, 0).URL() },
	} {
		t.Run(kind, func(t *testing.T) {
			if kind != "single" {
				drills.InProcess(t)
			}
			t.Parallel()
			url := url(t)
			var running sync.WaitGroup
			ctx, end := context.WithCancel(t.Context())
			t.Cleanup(func() { end(); running.Wait() })
			var fleets []*Fleet
			for i := range 3 {
				var f *Fleet
				node := fmt.Sprint("node", i)
				broker, err := pubsub.NewRedis(pubsub.RedisConfig{URL: url, Node: node, OnControl: func(m []byte) { f.Control(m) }})
				if err != nil {
					t.Fatal(err)
				}
				broker.SetState(pubsub.Ready)
				f = New(node, broker)
				f.Handle("largest", func(context.Context, []byte) ([]byte, error) { return make([]byte, MaxAnswer), nil })
				running.Go(func() { _ = broker.Run(ctx, nobody{}) })
				running.Go(func() { _ = f.Run(ctx) })
				fleets = append(fleets, f)
			}
			late := time.After(20 * time.Second)
			for tick := time.NewTicker(10 * time.Millisecond); ; {
				asked, cancel := context.WithTimeout(ctx, time.Second)
				answers, silent, err := fleets[0].Ask(asked, nil, "largest", nil)
				others, _ := fleets[0].Others(asked)
				cancel()
				if len(answers) == 3 && silent == nil && err == nil && fmt.Sprint(others) == "[node1 node2]" && len(answers[2].Data) == MaxAnswer {
					return
				}
				select {
				case <-tick.C:
				case <-late:
					t.Fatalf("got %d answers, silent %v, %v; others are %v", len(answers), silent, err, others)
				}
			}
		})
	}
}
