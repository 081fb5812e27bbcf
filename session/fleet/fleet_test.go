package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"wshub/pubsub"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// post brings messages between fleets, as a broker does. A node that is down hears nothing.
type post struct {
	mu     sync.Mutex
	fleets map[string]*Fleet
	down   map[string]bool
	// fail is the error of Notify to a node.
	fail map[string]error
	told int
	// frozen: the list of nodes does not come.
	frozen bool
}

func (p *post) Notify(_ context.Context, node string, message []byte) error {
	p.mu.Lock()
	f, down, err := p.fleets[node], p.down[node], p.fail[node]
	p.told++
	p.mu.Unlock()
	if err == nil && f != nil && !down && !f.Control(slices.Clone(message)) {
		panic("not taken for one of the fleet's")
	}
	return err
}

func (p *post) Nodes(ctx context.Context) (nodes []pubsub.Node, err error) {
	if p.frozen {
		<-ctx.Done()
		return nil, pubsub.ErrUnavailable
	}
	for name := range p.fleets {
		nodes = append(nodes, pubsub.Node{Name: name, State: pubsub.Ready})
	}
	return nodes, p.fail["list"]
}

// network runs a fleet of each name, and answers the question "echo" with the node's name and the arguments.
func network(t *testing.T, names ...string) (*post, *Fleet) {
	p := &post{fleets: map[string]*Fleet{}, down: map[string]bool{}, fail: map[string]error{}}
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, name := range names {
		f := New(name, p)
		f.Handle("echo", func(_ context.Context, args []byte) ([]byte, error) {
			return fmt.Appendf(nil, "%s %s", name, args), nil
		})
		f.Handle("fail", func(context.Context, []byte) ([]byte, error) { return nil, errors.New(strings.Repeat("no", maxError)) })
		f.Handle("large", func(context.Context, []byte) ([]byte, error) { return make([]byte, MaxAnswer+1), nil })
		f.Handle("largest", func(context.Context, []byte) ([]byte, error) { return make([]byte, MaxAnswer), nil })
		f.Handle("brief", func(ctx context.Context, _ []byte) ([]byte, error) { return []byte("in time"), ctx.Err() })
		f.Handle("wait", func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
		p.fleets[name] = f
		running.Go(func() { _ = f.Run(ctx) })
	}
	t.Cleanup(func() { end(); running.Wait() })
	return p, p.fleets[names[0]]
}

// text is what nodes answered.
func text(answers []Answer) string {
	var list []string
	for _, a := range answers {
		if a.Err != nil {
			list = append(list, a.Node+"!"+a.Err.Error())
		} else {
			list = append(list, fmt.Sprintf("%s=%.40s", a.Node, a.Data))
		}
	}
	return strings.Join(list, ",")
}

func TestAllNodesAnswerAndTheSilentAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a := network(t, "a", "b", "c", "d")
		p.down["c"] = true
		begin := time.Now()
		answers, silent, err := a.Ask(t.Context(), nil, "echo", []byte("x"))
		if got := text(answers); got != "a=a x,b=b x,d=d x" || fmt.Sprint(silent) != "[c]" || err != nil {
			t.Errorf("got %s, silent %v, %v", got, silent, err)
		}
		if took := time.Since(begin); took != DefaultTime {
			t.Errorf("it took %v", took)
		}
		begin = time.Now()
		answers, silent, err = a.Ask(t.Context(), []string{"d", "b", "d"}, "echo", nil)
		if got := text(answers); got != "b=b ,d=d " || silent != nil || err != nil || time.Since(begin) != 0 {
			t.Errorf("got %s, silent %v, %v after %v", got, silent, err, time.Since(begin))
		}
	})
}

func TestANodeAsksItselfWithoutTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a := network(t, "a", "b")
		p.fail["list"] = pubsub.ErrUnavailable
		answers, silent, err := a.Ask(t.Context(), nil, "echo", nil)
		if text(answers) != "a=a " || silent != nil || !errors.Is(err, pubsub.ErrUnavailable) {
			t.Errorf("got %s, silent %v, %v", text(answers), silent, err)
		}
		p.fail["b"] = pubsub.ErrRefused
		answers, silent, err = a.Ask(t.Context(), []string{"a", "b"}, "echo", nil)
		if text(answers) != "a=a " || fmt.Sprint(silent) != "[b]" || !errors.Is(err, pubsub.ErrRefused) {
			t.Errorf("got %s, silent %v, %v", text(answers), silent, err)
		}
		if p.told != 1 {
			t.Errorf("%d messages", p.told)
		}
	})
}

func TestANodeHasTimeToAnswerWhileTheBrokerIsFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a := network(t, "a", "b")
		p.frozen = true
		answers, silent, err := a.Ask(t.Context(), nil, "brief", nil)
		if text(answers) != "a=in time" || silent != nil || !errors.Is(err, pubsub.ErrUnavailable) {
			t.Errorf("got %s, silent %v, %v", text(answers), silent, err)
		}
	})
}

func TestWhatCanNotBeAnsweredSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := network(t, "a", "b")
		for kind, want := range map[string]error{"fail": ErrFailed, "large": ErrTooLarge, "none": ErrUnknownKind} {
			answers, silent, err := a.Ask(t.Context(), nil, kind, nil)
			if len(answers) != 2 || silent != nil || err != nil {
				t.Fatalf("%s: %v, silent %v, %v", kind, answers, silent, err)
			}
			for _, answer := range answers {
				if !errors.Is(answer.Err, want) || answer.Data != nil || len(answer.Err.Error()) > maxError+100 {
					t.Errorf("%s: %v", kind, answer)
				}
			}
		}
		if _, _, err := a.Ask(t.Context(), nil, "echo", make([]byte, MaxArgs+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v", err)
		}
		if _, _, err := a.Ask(t.Context(), nil, "", nil); !errors.Is(err, ErrUnknownKind) {
			t.Errorf("got %v", err)
		}
		answers, _, _ := a.Ask(t.Context(), nil, "largest", make([]byte, MaxArgs))
		if len(answers) != 2 || len(answers[0].Data) != MaxAnswer || len(answers[1].Data) != MaxAnswer {
			t.Error("the largest answers did not come")
		}
	})
}

func TestTheDeadlineGoesWithTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := network(t, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		_, _, err := a.Ask(ctx, []string{"b"}, "wait", nil)
		if took := time.Since(begin); took > MaxTime || took < MaxTime-time.Millisecond || err != nil {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := network(t, "a", "b")
		var asking sync.WaitGroup
		for range maxOpen {
			asking.Go(func() { _, _, _ = a.Ask(t.Context(), []string{"b"}, "wait", nil) })
		}
		synctest.Wait()
		if _, _, err := a.Ask(t.Context(), nil, "echo", nil); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
		asking.Wait()
		if n := a.Dropped()["questions_full"]; n != 1 {
			t.Errorf("%d were refused", n)
		}

		idle := New("c", nil) // it does not run
		q := question{from: "a", kind: "echo"}
		for range maxWaiting + 3 {
			idle.Control(q.message(t.Context()))
		}
		if n := idle.Dropped()["waiting_full"]; n != 3 {
			t.Errorf("%d did not wait", n)
		}
	})
}

func TestAnswersThatNobodyWaitsForAreDroppedByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := network(t, "a")
		var answers []Answer
		var asking sync.WaitGroup
		asking.Go(func() { answers, _, _ = a.Ask(t.Context(), []string{"b", "c"}, "echo", nil) })
		synctest.Wait()
		number := a.number.Load()
		a.Control(reply{number: number, data: []byte("1")}.message("b"))
		a.Control(reply{number: number, data: []byte("2")}.message("b"))     // again
		a.Control(reply{number: number, data: []byte("3")}.message("d"))     // not asked
		a.Control(reply{number: number + 1, data: []byte("4")}.message("c")) // of no question
		hold := func(bytes int) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.held += bytes
		}
		hold(maxHeld - 1) // b's answer is held, too
		a.Control(reply{number: number, data: []byte("5")}.message("c"))
		hold(1 - maxHeld)
		asking.Wait()
		a.Control(reply{number: number}.message("c"))
		a.Control([]byte{answerMark})
		a.Control([]byte{questionMark, 0})
		if got := text(answers); got != "b=1,c!"+ErrBusy.Error() {
			t.Errorf("got %s", got)
		}
		want := map[string]uint64{"unasked": 2, "late": 2, "answers_full": 1, "malformed": 2}
		for name, n := range a.Dropped() {
			if n != want[name] {
				t.Errorf("%s: %d", name, n)
			}
		}
		if a.held != 0 || len(a.open) != 0 {
			t.Errorf("%d bytes and %d questions are left", a.held, len(a.open))
		}
	})
}

func TestOrdersOfOthersAreNotTaken(t *testing.T) {
	f := New("a", nil)
	for _, message := range []string{"", `{"disconnect":{"user":"1"}}`, "x"} {
		if f.Control([]byte(message)) {
			t.Errorf("%q was taken", message)
		}
	}
}

func FuzzControl(f *testing.F) {
	q := question{number: 1, from: "a", kind: "echo", args: []byte("x")}
	f.Add(q.message(context.Background()))
	f.Add(reply{number: 1, status: failed, data: []byte("no")}.message("b"))
	f.Fuzz(func(t *testing.T, message []byte) {
		New("a", nil).Control(message)
		if len(message) == 0 {
			return
		}
		if q, ok := parseQuestion(message[1:]); ok {
			again, ok := parseQuestion(q.message(deadline(t, q.left))[1:])
			if !ok || again.number != q.number || again.kind != q.kind || again.from != q.from || !bytes.Equal(again.args, q.args) {
				t.Errorf("got %v, want %v", again, q)
			}
		}
		if node, r, ok := parseReply(message[1:]); ok {
			from, again, ok := parseReply(r.message(node)[1:])
			if !ok || from != node || again.number != r.number || again.status != r.status || !bytes.Equal(again.data, r.data) {
				t.Errorf("got %v of %s, want %v of %s", again, from, r, node)
			}
		}
	})
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
