package pubsub

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// In a cluster a channel that all nodes hear would cost each server each message. So a message for all goes to the
// mailbox of each node on the list (lease.go), also of one that is dead for a while: Redis may have been away, and no lease
// could be renewed.

// listAge is how old a list of the nodes may be for what may be missed.
const listAge = time.Second

// nodeList is the list of the nodes as it was last read.
type nodeList struct {
	mu    sync.Mutex
	names []string
	read  int64 // when, by the broker's stopwatch; 0: never
}

// listedNodes are the nodes of the list, the dead too, as they were no longer than age ago.
func (r *Redis) listedNodes(ctx context.Context, age time.Duration) ([]string, error) {
	l := &r.others
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read != 0 && r.stopwatch.now()-l.read < int64(age) {
		return l.names, nil
	}
	now := r.stopwatch.now()
	list, err := r.command(ctx, common, "zrange", r.names.nodes(), "0", "-1").StringSlice()
	if err != nil {
		return nil, err
	}
	l.names, l.read = list, now
	return list, nil
}

// command runs one command in partition p.
func (r *Redis) command(ctx context.Context, p byte, args ...any) *redis.Cmd {
	return r.run(ctx, []call{{partition: p, args: args}})[0]
}

// notifyOne sends message to node. heard is how many connections got it.
func (r *Redis) notifyOne(ctx context.Context, node string, message []byte) (heard int, err error) {
	reply := r.run(ctx, []call{r.letter(node, message)})[0]
	return countOf(reply), reply.Err()
}

// letter is the command that sends message to node.
func (r *Redis) letter(node string, message []byte) call {
	return call{partition: partition(node), args: []any{r.names.publishCommand(), r.names.mailbox(node), message}}
}

// notifyAll sends message to all nodes. fresh says that a node that has come a moment ago must not miss it. heard is
// how many connections got it.
func (r *Redis) notifyAll(ctx context.Context, message []byte, fresh bool) (heard int, err error) {
	if !r.names.sharded {
		reply := r.command(ctx, common, "publish", r.names.everyNode, message)
		return countOf(reply), reply.Err()
	}
	age := listAge
	if fresh {
		age = 0
	}
	nodes, err := r.listedNodes(ctx, age)
	if err != nil {
		return 0, err
	}
	letters := make([]call, len(nodes))
	for i, node := range nodes {
		letters[i] = r.letter(node, message)
	}
	for _, reply := range r.run(ctx, letters) {
		if reply.Err() != nil {
			err = reply.Err()
		}
		heard += countOf(reply)
	}
	return heard, err
}

// countOf is a reply that is one, else 0.
func countOf(reply *redis.Cmd) int {
	switch n := reply.Val().(type) {
	case int64:
		return int(n)
	case string:
		i, _ := strconv.Atoi(n)
		return i
	}
	return 0
}
