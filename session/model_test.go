package session

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wshub/pubsub"
	"wshub/session/token"
)

// TestEverySubscriptionEndsAsItIsTold plays requests, the broker's answers, events and breaks in any order.
func TestEverySubscriptionEndsAsItIsTold(t *testing.T) {
	t.Parallel()
	signer, err := token.SecretSigner(modelSecret)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, broker: newPuppet(), signer: signer, kept: map[string]string{}}
		stop := w.run()
		defer stop()
		w.bystander("a", "raw")
		w.dial([]string{"*"})
		own := userPrefix + modelUser
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(t *rapid.T) {
				topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
				since := ""
				switch kept := w.kept[topic]; rapid.IntRange(0, 3).Draw(t, "since") {
				case 0:
					since = `,"since":"0"`
				case 1:
					since = `,"since":"00000000000000aa:5-1"`
				case 2:
					if kept != "" {
						since = `,"since":"` + kept + `"`
					}
				}
				w.ask(`"type":"subscribe","topic":%q%s`, topic, since)
			},
			"unsubscribe": func(t *rapid.T) {
				w.ask(`"type":"unsubscribe","topic":%q`, rapid.SampledFrom(modelTopics).Draw(t, "topic"))
			},
			"history": func(t *rapid.T) {
				w.ask(`"type":"history","topic":%q,"since":"0","limit":3`, rapid.SampledFrom(modelTopics).Draw(t, "topic"))
			},
			"auth": func(t *rapid.T) {
				rights := rapid.SampledFrom([]string{"*", "a", "a b", "b raw", "none"}).Draw(t, "rights")
				raw, err := token.Mint(w.signer, token.Grant{Subject: modelUser, TTL: time.Hour, Subscribe: strings.Fields(rights)})
				if err != nil {
					t.Fatal(err)
				}
				w.ask(`"type":"auth","rights":%q,"token":%q`, rights, raw)
			},
			"resume": func(t *rapid.T) { w.resume() },
			"publish": func(t *rapid.T) {
				topic := rapid.SampledFrom(append([]string{own}, modelTopics...)).Draw(t, "topic")
				size := rapid.SampledFrom([]int{1, 3000}).Draw(t, "size")
				for range rapid.IntRange(1, 5).Draw(t, "events") {
					w.broker.publish(topic, []byte(strings.Repeat("x", size)))
				}
			},
			"publish a burst": func(t *rapid.T) {
				topic := rapid.SampledFrom([]string{"a", "b", "raw"}).Draw(t, "topic")
				events := rapid.SampledFrom([]int{10, 30, 120}).Draw(t, "events")
				for range events {
					w.broker.publish(topic, []byte(strings.Repeat("x", 3000)))
				}
			},
			"miss some and come for them": func(t *rapid.T) {
				w.answerAll()
				kept := w.kept["b"]
				if w.deaf || kept == "" {
					return
				}
				w.ask(`"type":"unsubscribe","topic":"b"`)
				for range rapid.IntRange(1, 15).Draw(t, "events") {
					w.broker.publish("b", []byte(strings.Repeat("x", 3000)))
				}
				w.ask(`"type":"subscribe","topic":"b","since":%q`, kept)
				w.quiesce()
				for range 2 { // the follow, and the first page
					w.broker.answerOne(nil)
					w.quiesce()
				}
			},
			"trim": func(t *rapid.T) {
				w.broker.mu.Lock()
				defer w.broker.mu.Unlock()
				l := w.broker.log(rapid.SampledFrom(modelTopics).Draw(t, "topic"))
				l.first = len(l.events) - rapid.IntRange(0, min(3, len(l.events)-l.first)).Draw(t, "left")
			},
			"gap": func(t *rapid.T) { w.broker.gap(rapid.SampledFrom(modelTopics).Draw(t, "topic")) },
			"the broker answers": func(t *rapid.T) {
				w.broker.answerOne(rapid.SampledFrom([]error{nil, nil, nil, pubsub.ErrUnavailable, pubsub.ErrRefused}).Draw(t, "error"))
			},
			"time passes": func(t *rapid.T) {
				w.n.onLoop(func() {
					for s := range w.n.sessions() {
						if work := s.busy(); work != nil {
							for _, sub := range slices.Clone(work.pending) {
								if sub.timer != nil {
									sub.again()
								}
							}
						}
						s.followOwn()
					}
				})
			},
			"all is answered": func(t *rapid.T) {
				w.answerAll()
				if !w.deaf {
					w.assertAtRest()
				}
			},
			"hear":    func(t *rapid.T) { w.quiesce() },
			"go deaf": func(t *rapid.T) { w.deaf = true }, // and so break before what is under way has come
			"come back": func(t *rapid.T) {
				_ = w.conn.CloseNow()
				w.n.eventually("the session has ended", func() bool { return w.n.hub.Stats().Sessions["v1"] == 0 })
				w.dial([]string{"*"})
				if rapid.Bool().Draw(t, "resume") {
					w.resume()
				}
			},
			"": func(t *rapid.T) {
				if w.deaf {
					w.asked = map[string]string{} // their answers are not heard
				}
			},
		})
		if w.deaf {
			_ = w.conn.CloseNow()
			w.n.eventually("the session has ended", func() bool { return w.n.hub.Stats().Sessions["v1"] == 0 })
			w.dial([]string{"*"})
			w.resume()
		}
		w.answerAll()
		w.assertAtRest()
		_ = w.conn.CloseNow()
	})
}
