package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"wshub/pubsub"
)

const (
	// DefaultTime is how long Ask waits where its context has no deadline, MaxTime how long it waits at most.
	DefaultTime, MaxTime = 2 * time.Second, 30 * time.Second
	// MaxArgs bounds the arguments of a question, MaxAnswer one answer, in bytes.
	MaxArgs, MaxAnswer = 64 << 10, 256 << 10
	// MaxKind bounds the name of a kind of question, in bytes.
	MaxKind = 64

	// maxOpen bounds the questions that this node has open.
	maxOpen = 64
	// maxHeld bounds the answers to them that it holds, in bytes.
	maxHeld = 64 << 20
	// maxWaiting bounds the questions of others that wait for an answer, answerers how many are answered at once.
	maxWaiting, answerers = 64, 4
	// tellers bounds the questions that one Ask has on their way to Redis at once.
	tellers = 16
	// maxError bounds the text of an error that another node is told, in bytes.
	maxError = 1 << 10
)

var (
	// ErrBusy: too many questions are open on this node. Ask again later.
	ErrBusy = errors.New("too many questions are open")
	// ErrTooLarge: arguments, or an answer, are larger than allowed.
	ErrTooLarge = errors.New("too large")
	// ErrUnknownKind: the node knows no such question. It may run another version.
	ErrUnknownKind = errors.New("the node does not know this question")
	// ErrFailed: the node tried, and its own error is the text.
	ErrFailed = errors.New("the node can't answer")
)

// Answer is what one node said.
type Answer struct {
	Node string
	Data []byte
	// Err is nil, or one of ErrFailed, ErrUnknownKind, ErrTooLarge and ErrBusy (this node holds too many answers); there is
	// no Data then.
	Err error
}

// Broker is what a Fleet needs of pubsub.Memory or pubsub.Redis.
type Broker interface {
	Notify(ctx context.Context, node string, message []byte) error
	Nodes(ctx context.Context) ([]pubsub.Node, error)
}

// Handler answers one kind of question. It ends with ctx at the latest. Its error's text, which is told to the node that
// asked, holds no secret.
type Handler func(ctx context.Context, args []byte) ([]byte, error)

// Fleet asks and answers for one node. Any goroutine may use it.
type Fleet struct {
	// Fixed at birth, or before Run.
	node     string
	broker   Broker
	handlers map[string]Handler

	waiting chan question
	dropped counts
	number  atomic.Uint64 // of the last question

	mu   sync.Mutex
	open map[uint64]*asking
	held int // bytes of answers
}

// New makes the fleet as node sees it.
func New(node string, broker Broker) *Fleet {
	f := &Fleet{
		node: node, broker: broker, handlers: make(map[string]Handler),
		waiting: make(chan question, maxWaiting), open: make(map[uint64]*asking),
	}
	f.number.Store(rand.Uint64()) // an answer to an earlier process of this name fits none of ours
	return f
}

// Handle has answer called for questions of that kind, which has 1 to MaxKind bytes. Call it before Run and Ask.
func (f *Fleet) Handle(kind string, answer Handler) {
	if kind == "" || len(kind) > MaxKind || f.handlers[kind] != nil {
		panic("fleet: kind " + kind)
	}
	f.handlers[kind] = answer
}

// Run answers the questions of other nodes until ctx ends, and returns when its goroutines have.
func (f *Fleet) Run(ctx context.Context) error {
	var g errgroup.Group
	for range answerers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case q := <-f.waiting:
					f.answer(ctx, &q)
				}
			}
		})
	}
	return g.Wait()
}

// Others are the nodes besides this one that take clients. The error is that of the broker's Nodes.
func (f *Fleet) Others(ctx context.Context) (ready []string, err error) {
	nodes, err := f.broker.Nodes(ctx)
	for _, n := range nodes {
		if n.Name != f.node && n.State == pubsub.Ready {
			ready = append(ready, n.Name)
		}
	}
	return ready, err
}

// Ask has nodes, or with nil all that live, answer a question: DefaultTime is the deadline where ctx has none, and
// MaxTime the latest. Answers come by the nodes' names. silent are those that were asked, and have not answered by then. err
// says why the question, or the part of it that some nodes should have got, could not be asked: ErrBusy, ErrTooLarge,
// ErrUnknownKind (no name of one), or one of the broker's; answers and silent hold beside it. This node answers without the broker.
func (f *Fleet) Ask(ctx context.Context, nodes []string, kind string, args []byte) (answers []Answer, silent []string, err error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	switch {
	case kind == "" || len(kind) > MaxKind:
		return nil, nil, fmt.Errorf("ask %.64q: %w", kind, ErrUnknownKind)
	case len(args) > MaxArgs:
		return nil, nil, fmt.Errorf("ask %q: the arguments are %w", kind, ErrTooLarge)
	}
	var listing error
	if nodes == nil {
		nodes, listing = f.living(ctx)
	}
	nodes = slices.Compact(slices.Sorted(slices.Values(nodes)))
	number, a, err := f.begin(nodes)
	if err != nil {
		return nil, nil, fmt.Errorf("ask %.64q: %w", kind, err)
	}
	telling := f.askAll(ctx, a, nodes, &question{number: number, from: f.node, kind: kind, args: args})
	answers, silent = f.end(number, a)
	return answers, silent, errors.Join(listing, telling)
}

func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := MaxTime
	if _, ok := ctx.Deadline(); !ok {
		limit = DefaultTime
	}
	return context.WithTimeout(ctx, limit)
}

// living are the names of all nodes that live; of this one alone if the others can't be known within half of ctx's time: the
// other half is for the answers.
func (f *Fleet) living(ctx context.Context) ([]string, error) {
	if until, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(until)/2)
		defer cancel()
	}
	nodes, err := f.broker.Nodes(ctx)
	if err != nil {
		return []string{f.node}, err
	}
	names := []string{f.node}
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names, nil
}

// askAll brings q to nodes, and returns when all have answered or ctx ends. The error tells of those that it could not be
// brought to.
func (f *Fleet) askAll(ctx context.Context, a *asking, nodes []string, q *question) (failed error) {
	var others, own errgroup.Group
	others.SetLimit(tellers)
	if slices.Contains(nodes, f.node) {
		own.Go(func() error {
			f.take(f.node, f.reply(ctx, q))
			return nil
		})
	}
	for _, node := range nodes {
		if node != f.node {
			others.Go(func() error { return f.broker.Notify(ctx, node, q.message(ctx)) })
		}
	}
	select {
	case <-a.complete:
		_ = others.Wait() // they were heard
	case <-ctx.Done():
		failed = others.Wait()
	}
	return errors.Join(failed, own.Wait())
}

// asking is a question of this node's own that is open. Fleet.mu guards it.
type asking struct {
	missing  map[string]bool // nodes that have not answered
	answers  []Answer
	bytes    int
	complete chan struct{} // closed when nobody is missing
}

// begin opens a question to nodes.
func (f *Fleet) begin(nodes []string) (number uint64, a *asking, err error) {
	a = &asking{missing: make(map[string]bool, len(nodes)), complete: make(chan struct{})}
	for _, node := range nodes {
		a.missing[node] = true
	}
	if len(nodes) == 0 {
		close(a.complete)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) == maxOpen {
		f.dropped.add(questionsFull)
		return 0, nil, ErrBusy
	}
	number = f.number.Add(1)
	f.open[number] = a
	return number, a, nil
}

// end closes a question: what comes from now on is late.
func (f *Fleet) end(number uint64, a *asking) (answers []Answer, silent []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, number)
	f.held -= a.bytes
	slices.SortFunc(a.answers, func(a, b Answer) int { return strings.Compare(a.Node, b.Node) })
	for node := range a.missing {
		silent = append(silent, node)
	}
	slices.Sort(silent)
	return a.answers, silent
}

// take notes what node answered.
func (f *Fleet) take(node string, r reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.open[r.number]
	switch {
	case a == nil:
		f.dropped.add(late)
		return
	case !a.missing[node]:
		f.dropped.add(unasked)
		return
	}
	answer := Answer{Node: node, Data: r.data, Err: r.err()}
	switch size := len(r.data); {
	case answer.Err != nil:
		answer.Data = nil
	case f.held+size > maxHeld:
		f.dropped.add(answersFull)
		answer.Data, answer.Err = nil, ErrBusy
	default:
		f.held += size
		a.bytes += size
	}
	a.answers = append(a.answers, answer)
	delete(a.missing, node)
	if len(a.missing) == 0 {
		close(a.complete)
	}
}

// Control takes what another node has told this one. It does not block. ours is false for what is no question and no
// answer.
func (f *Fleet) Control(message []byte) (ours bool) {
	if len(message) == 0 || message[0] != questionMark && message[0] != answerMark {
		return false
	}
	mark, rest := message[0], message[1:]
	if mark == answerMark {
		if node, r, ok := parseReply(rest); ok {
			f.take(node, r)
		} else {
			f.dropped.add(malformed)
		}
		return true
	}
	q, ok := parseQuestion(rest)
	if !ok {
		f.dropped.add(malformed)
		return true
	}
	q.until = time.Now().Add(q.left)
	select {
	case f.waiting <- q:
	default:
		f.dropped.add(waitingFull)
	}
	return true
}

// answer answers a question of another node.
func (f *Fleet) answer(ctx context.Context, q *question) {
	ctx, cancel := context.WithDeadline(ctx, q.until)
	defer cancel()
	if ctx.Err() != nil {
		f.dropped.add(overdue)
		return
	}
	if err := f.broker.Notify(ctx, q.from, f.reply(ctx, q).message(f.node)); err != nil {
		f.dropped.add(untold)
	}
}

// reply is the answer to q.
func (f *Fleet) reply(ctx context.Context, q *question) reply {
	r := reply{number: q.number}
	handler := f.handlers[q.kind]
	if handler == nil {
		r.status = unknownKind
		return r
	}
	data, err := handler(ctx, q.args)
	switch {
	case err != nil:
		text := err.Error()
		r.status, r.data = failed, []byte(text[:min(len(text), maxError)])
	case len(data) > MaxAnswer:
		f.dropped.add(tooLarge)
		r.status = answerTooLarge
	default:
		r.data = data
	}
	return r
}

// drop is why a question or an answer was thrown away.
type drop uint8

const (
	questionsFull drop = iota // too many questions of this node were open
	waitingFull               // too many questions of others waited
	overdue                   // a question's time was over before its turn came
	untold                    // an answer that the broker did not take
	tooLarge                  // an answer of this node
	answersFull               // an answer for which there was no room
	late                      // an answer to a question that was not open, any more
	unasked                   // an answer of a node that was not asked, or had answered
	malformed                 // neither a question nor an answer
	numDrops
)

var dropNames = [numDrops]string{"questions_full", "waiting_full", "overdue", "untold", "too_large", "answers_full", "late", "unasked", "malformed"}

type counts [numDrops]atomic.Uint64

func (c *counts) add(d drop) { c[d].Add(1) }

// Dropped counts the questions and answers that were thrown away, by reason.
func (f *Fleet) Dropped() map[string]uint64 {
	counted := make(map[string]uint64, numDrops)
	for d := range f.dropped {
		counted[dropNames[d]] = f.dropped[d].Load()
	}
	return counted
}
