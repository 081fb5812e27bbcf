package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// This file knows which rights the hub's user needs in Redis. README.md has them as a rule for ACL SETUSER.

// need is a command that the hub gives, on a key or channel that it uses. As it stands here it changes nothing and
// reaches nobody: an argument is wrong, or it names something that is not there.
type need struct {
	way  way
	args []string
	// object is the pattern, in the words of ACL SETUSER, that lets the user at the key or channel; "" without one.
	object string
	// spare says that the hub can do without.
	spare bool
}

// way is how a need is tried.
type way uint8

const (
	byPool   way = iota // on an ordinary connection
	byFeed              // on a subscriber's
	byAsking            // others would hear it: it is not tried, a script asks whether it is allowed
)

// harmless are arguments behind a command's key with which it does nothing. Redis looks at rights before it looks at
// them.
var harmless = map[string][]string{
	"get": {}, "mget": {}, "set": {"", "px", "never"}, "pexpire": {"never"},
	"xadd": {"never", "d", ""}, "xtrim": {"never", "0"}, "xrange": {"-", "never"}, "xrevrange": {"+", "never"},
	"zadd": {"never", ""}, "zrem": {"no member"}, "zremrangebyscore": {"never", "never"},
	"zscan": {"0"}, "zscore": {wholeMark}, "zrange": {"0", "0"},
	"hget": {""}, "hset": {"", "", "no pair"}, "hdel": {""}, "hlen": {}, "hincrby": {"", "never"}, "hscan": {"0"}, "del": {},
	"hrandfield": {"1"}, "srem": {""}, "srandmember": {"1"},
}

// needs is what the user must be allowed at m, of whose partitions p is one. A hub that keeps no history needs less.
func (r *Redis) needs(m *master, p byte) []need {
	n, keeps := &r.names, len(r.cfg.History) > 0
	var list []need
	keys := "~" + n.prefix + ":*"
	command := func(args ...string) { list = append(list, need{args: args}) }
	spare := func(args ...string) { list = append(list, need{args: args, spare: true}) }
	on := func(key string, commands ...string) {
		for _, c := range commands {
			list = append(list, need{args: append([]string{c, key}, harmless[c]...), object: keys})
		}
	}
	script := func(key string) {
		list = append(list, need{args: []string{"eval", "return 1", "1", key}, object: keys},
			need{args: []string{"evalsha", strings.Repeat("0", 40), "1", key}, object: keys})
	}
	channel := func(way way, command, channel string, args ...string) {
		list = append(list, need{way: way, args: append([]string{command, channel}, args...), object: n.pattern(channel)})
	}

	spare("role")
	spare("info", "server")
	command("time")
	command("ping")
	if r.address.DB > 0 {
		command("select", strconv.Itoa(r.address.DB))
	}
	if r.cfg.Wait > 0 {
		command("wait", "0", "0")
	}
	script(n.alive(p, r.cfg.Node))
	on(n.alive(p, r.cfg.Node), "set")
	on(n.tagged(p, "i:probe"), "get", "set")
	if keeps {
		log := []string{n.tagged(p, "epoch"), n.tagged(p, "s:probe"), n.tagged(p, "r:probe")}
		for _, key := range log {
			script(key)
		}
		on(log[0], "get", "set", "mget")
		on(log[1], "xadd", "xtrim", "pexpire", "xrange", "xrevrange")
		on(log[2], "get", "set", "mget")
	}
	if r.cfg.hasMembers() { // no topic and no boot has an empty name
		for _, key := range []string{"m:", "u:", "v:", "b:", "boots", "fence"} {
			script(n.tagged(p, key))
		}
		on(n.tagged(p, "m:"), "hget", "hset", "hdel", "hlen", "hscan")
		on(n.tagged(p, "u:"), "hincrby", "hdel", "hlen", "del")
		on(n.tagged(p, "v:"), "get", "set")
		on(n.tagged(p, "b:"), "hset", "hdel", "hscan", "hrandfield")
		on(n.boots(p), "srem", "srandmember")
		on(n.tagged(p, "touch:"), "set")
		on(n.fence(p), "zadd", "zscore", "zremrangebyscore")
		if r.cfg.Lifecycle.On {
			key, end := n.lifecycle(p), n.lifecycleEnd(p)
			for _, key := range []string{n.tagged(p, "l:"), key, end} {
				script(key)
			}
			on(n.tagged(p, "l:"), "hget", "hset", "hdel", "hlen")
			on(key, "xadd", "xrevrange")
			on(end, "get", "set")
			if r.cfg.Lifecycle.Users != nil {
				on(n.tagged(p, "u:"), "hget")
			}
		}
		if r.cfg.Lifecycle.Readers {
			key := n.deliveredTo(p, "probe")
			script(key)
			on(key, "hget", "hset", "pexpire")
			on(n.lifecycle(p), "xrange")
		}
		list = append(list, need{way: byAsking, args: []string{"sadd", n.boots(p), ""}, object: keys})
	}
	if r.routes[common].Load() == m {
		script(n.revoked())
		on(n.revoked(), "zadd", "zrem", "zscore", "zscan", "zremrangebyscore")
		on(n.resumeKey(), "get", "set")
		script(n.nodes())
		on(n.nodes(), "zadd", "zrange", "zrem", "zremrangebyscore")
		if r.cfg.hasMembers() {
			script(n.leases())
			on(n.leases(), "zadd", "zrange", "zrem", "zscore")
		}
		if r.cfg.Lifecycle.Readers {
			script(n.deliverers("probe"))
			on(n.deliverers("probe"), "zadd", "zrange", "zrem", "zremrangebyscore")
		}
	}
	if l := r.layout.Load(); l != nil && l.format == m.addr {
		on(n.format(), "get", "set")
	}

	// The trial publishes to the channel of a node that does not exist: somebody may follow a topic named probe.
	topic, node, publishes := n.channel(p, "t:probe"), n.node(p, r.cfg.Node), strings.ToLower(n.publishCommand())
	channel(byPool, publishes, n.node(p, "probe:"+randomName()), "")
	channel(byAsking, publishes, topic, "")
	channel(byAsking, publishes, node, "")
	classic := []string{n.broadcast, n.classicNode(r.cfg.Node)}
	if n.sharded {
		command("cluster", "info")
		command("cluster", "slots")
		channel(byFeed, "ssubscribe", topic)
		channel(byFeed, "ssubscribe", node)
		list = append(list, need{way: byFeed, args: []string{"sunsubscribe", topic}})
		channel(byAsking, "publish", n.attributed, "")
		classic = append(classic, n.attributed)
	} else {
		channel(byFeed, "subscribe", topic)
		channel(byAsking, "publish", n.everyNode, "")
		classic = append(classic, n.everyNode)
	}
	channel(byAsking, "publish", n.broadcast, "")
	channel(byAsking, "publish", n.classicNode(r.cfg.Node), "")
	for _, name := range append(classic, n.addressed) {
		channel(byFeed, "subscribe", name)
	}
	return append(list, need{way: byFeed, args: []string{"unsubscribe", topic}})
}

func randomName() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// pattern is the word of ACL SETUSER that lets a user at channel.
func (n *names) pattern(channel string) string {
	if strings.HasPrefix(channel, n.prefix+":") {
		return "&" + n.prefix + ":*"
	}
	return "&" + channel
}

// word is the word of ACL SETUSER that allows a need's command.
func (n *need) word() string {
	if n.args[0] == "cluster" || n.args[0] == "sentinel" {
		return "+" + n.args[0] + "|" + n.args[1]
	}
	return "+" + n.args[0]
}

// commandsOf are needs' commands as JSON, for scripts that ask whether they are allowed. Those that can be spared are
// left out.
func commandsOf(list []need) string {
	commands := make([][]string, 0, len(list))
	for i := range list {
		if !list[i].spare {
			commands = append(commands, list[i].args)
		}
	}
	text, _ := json.Marshal(commands) // strings only
	return string(text)
}

// isPermission reports whether err, which is not nil, says that a right is missing, to a command or to one of a script.
func isPermission(err error) bool {
	text := err.Error()
	return strings.Contains(text, "NOPERM ") || strings.Contains(text, "The user executing the script") || // Redis 7.0
		strings.Contains(text, "ACL failure in script") // 7.2 and later
}

// shortage is which rights a user lacks, in the words of ACL SETUSER.
type shortage struct {
	lacks []string
	// unsure are those that may be missing, too: nothing could be tried that needs them.
	unsure []string
	// spare are missing ones that the hub can do without.
	spare []string
}

// String names the missing rights, "" if there are none.
func (s *shortage) String() string {
	if len(s.lacks) == 0 {
		return ""
	}
	text := "the user lacks " + strings.Join(s.lacks, " ")
	if len(s.unsure) > 0 {
		text += ", and perhaps " + strings.Join(s.unsure, " ")
	}
	return text
}

// trials gathers what became of needs.
type trials struct {
	shortage
	proven []string
}

// note takes the answer to a need, nil for any that is no error.
func (t *trials) note(n *need, err error) {
	word := ""
	switch {
	case err == nil || !isPermission(err):
		t.proven = append(t.proven, n.word(), n.object)
		return
	case strings.Contains(err.Error(), "run the '"): // of Redis 7.0, or a later one's, which names the user
		_, rest, _ := strings.Cut(err.Error(), "run the '")
		name, _, _ := strings.Cut(rest, "'")
		word = "+" + name // another one than n's, if it was SELECT
	default:
		t.proven = append(t.proven, n.word())
		word = n.object
	}
	if n.spare {
		t.spare = add(t.spare, word)
	} else {
		t.lacks = add(t.lacks, word)
	}
}

// add is list with word, once.
func add(list []string, word string) []string {
	if word == "" || slices.Contains(list, word) {
		return list
	}
	return append(list, word)
}

// tryRights tries all that the user must be allowed at m. The error is another one than a missing right.
func (r *Redis) tryRights(ctx context.Context, m *master, p byte) (shortage, error) {
	var t trials
	list := r.needs(m, p)
	err := errors.Join(r.tryPool(ctx, m, list, &t), r.tryFeed(ctx, m, list, &t))
	if err != nil && isPermission(err) { // without SELECT there is no connection
		t.note(&need{args: []string{"select"}}, err)
		err = nil
	}
	r.tryAsking(ctx, m, list, &t)
	for i := range list {
		if object := list[i].object; !slices.Contains(t.proven, object) && !slices.Contains(t.lacks, object) {
			t.unsure = add(t.unsure, object)
		}
	}
	return t.shortage, err
}

func (r *Redis) tryPool(ctx context.Context, m *master, list []need, t *trials) error {
	pipe := m.pub.Pipeline()
	replies := map[*need]*redis.Cmd{}
	for i := range list {
		if n := &list[i]; n.way == byPool {
			args := make([]any, len(n.args))
			for i, arg := range n.args {
				args[i] = arg
			}
			replies[n] = pipe.Do(ctx, args...)
		}
	}
	if err := exec(ctx, pipe); err != nil {
		return err
	}
	for i := range list {
		n := &list[i]
		if reply := replies[n]; reply != nil {
			err := reply.Err()
			if answer := redis.Error(nil); err != nil && !errors.As(err, &answer) {
				return err
			}
			t.note(n, err)
		}
	}
	return nil
}

func (r *Redis) tryFeed(ctx context.Context, m *master, list []need, t *trials) error {
	feed, end, err := r.dialFeed(ctx, m)
	if err != nil {
		return err
	}
	defer end()
	var commands []command
	var asked []*need
	for i := range list {
		if n := &list[i]; n.way == byFeed {
			commands, asked = append(commands, command{n.args[0], n.args[1:]}), append(asked, n)
		}
	}
	if err := feed.sendAll(commands); err != nil {
		return err
	}
	for len(asked) > 0 {
		h, err := feed.hear()
		switch {
		case err != nil:
			return err
		case h.signal == message || h.signal == oversize:
			continue
		case h.signal == refused:
			err = refusalError(h.payload)
		}
		t.note(asked[0], err)
		asked = asked[1:]
	}
	return nil
}

const askRights = `local list = {}
for i, command in ipairs(redis.acl_check_cmd and cjson.decode(ARGV[1]) or {}) do
  if not redis.acl_check_cmd(unpack(command)) then list[#list + 1] = i end
end
return list`

// tryAsking asks about what others would hear. A user who may run no scripts lacks that anyway.
func (r *Redis) tryAsking(ctx context.Context, m *master, list []need, t *trials) {
	list = slices.DeleteFunc(slices.Clone(list), func(n need) bool { return n.way != byAsking })
	refused, err := m.pub.Eval(ctx, askRights, nil, commandsOf(list)).Int64Slice()
	if err != nil {
		return
	}
	for i := range list {
		switch n := &list[i]; {
		case !slices.Contains(refused, int64(i+1)):
			t.note(n, nil)
		case slices.Contains(t.proven, n.word()):
			t.lacks = add(t.lacks, n.object)
		case slices.Contains(t.proven, n.object):
			t.lacks = add(t.lacks, n.word())
		}
	}
}

// denied takes an answer of m that says that a right is missing. It is the same error, or one that names all that are.
func (r *Redis) denied(ctx context.Context, m *master, err error) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	if p, ok := r.partitionAt(m); ok {
		if short, failed := r.tryRights(ctx, m, p); failed == nil && len(short.lacks) > 0 {
			err = refusalError("NOPERM " + short.String())
		}
	}
	m.refusal.set(err)
	return err
}

// partitionAt is the first partition that m serves, or, where it serves it, this node's own.
func (r *Redis) partitionAt(m *master) (p byte, ok bool) {
	if r.routes[r.home].Load() == m {
		return r.home, true
	}
	for p := range r.routes {
		if r.routes[p].Load() == m {
			return byte(p), true
		}
	}
	return 0, false
}
