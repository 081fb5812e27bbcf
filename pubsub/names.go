package pubsub

import "strings"

// names are the Redis channels and keys of one deployment. Its prefix keeps it apart from others on the same
// server: pub/sub knows no database numbers.
type names struct {
	prefix string
	// sharded is true in a cluster: a channel of a topic or of a node has its partition's hash tag, and is
	// used with SPUBLISH and SSUBSCRIBE.
	sharded bool
	// broadcast is the classic channel that backends publish raw events of the broadcast topic on.
	broadcast string
	// addressed is where backends publish {"to":…,"data":…}, everyNode the channel of messages to all nodes. Both are classic;
	// a cluster has no everyNode: see nodes.go.
	addressed, everyNode string
	// attributed is the classic channel, of a cluster only, of events of the broadcast topic that have attributes:
	// they stay in order with the others.
	attributed string
}

func newNames(cfg *RedisConfig, sharded bool) names {
	n := names{
		prefix: cfg.Prefix, sharded: sharded, broadcast: cfg.Broadcast,
		addressed: cfg.Prefix + ":to", everyNode: cfg.Prefix + ":n",
	}
	if sharded {
		n.attributed = cfg.Prefix + ":t:" + cfg.Broadcast
	}
	if n.prefix != DefaultPrefix {
		n.broadcast = n.prefix + ":" + cfg.Broadcast
	}
	return n
}

// tagged is a name in partition p. The tag in braces puts a partition's names on one node of a cluster.
func (n *names) tagged(p byte, rest string) string { return n.prefix + ":{" + tags[p] + "}:" + rest }

// channel is a channel in partition p.
func (n *names) channel(p byte, rest string) string {
	if n.sharded {
		return n.tagged(p, rest)
	}
	return n.prefix + ":" + rest
}

// publishCommand publishes on a topic's or a node's channel.
func (n *names) publishCommand() string {
	if n.sharded {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

// topic is the Redis channel of topic: raw JSON from backends, envelopes from hubs. The topic is a substring of
// it, so that a table keyed by channels holds both in one string.
func (n *names) topic(topic string) string { return n.channel(partition(topic), "t:"+topic) }

// isTopic reports whether channel looks like that of a topic.
func (n *names) isTopic(channel string) bool {
	rest, ours := strings.CutPrefix(channel, n.prefix)
	if n.sharded {
		rest = rest[strings.IndexByte(rest, '}')+1:]
	}
	return ours && strings.HasPrefix(rest, ":t:")
}

// topicOf is the topic that channel, which is one's, carries.
func (n *names) topicOf(channel string) string {
	rest := channel[len(n.prefix):]
	if n.sharded {
		rest = rest[strings.IndexByte(rest, '}')+1:]
	}
	return rest[len(":t:"):]
}

// node is a channel of a node in partition p: its own probes, and in its home partition messages of other nodes.
func (n *names) node(p byte, node string) string { return n.channel(p, "n:"+node) }

// own are the channels of a node's own that it may hear.
func (n *names) own(node string) map[string]bool {
	own := map[string]bool{n.classicNode(node): true}
	for p := range partitions {
		own[n.node(byte(p), node)] = true
	}
	return own
}

// mailbox is the channel of messages to node.
func (n *names) mailbox(node string) string { return n.node(partition(node), node) }

// classicNode is a classic channel of a node's own, also in a cluster.
func (n *names) classicNode(node string) string { return n.prefix + ":n:" + node }

// log are the keys of topic's log: its partition's state, its stream, and its record, which is where it ends.
func (n *names) log(topic string) []string {
	tag := n.tagged(partition(topic), "")
	return []string{tag + "epoch", tag + "s:" + topic, tag + "r:" + topic}
}

// members are the keys of who is in topic: members, users and version; of a hidden one the members alone. See presence.lua.
func (n *names) members(topic string) []string {
	tag := n.tagged(partition(topic), "")
	if isHidden(topic) {
		key := tag + "l:" + hiddenUser(topic)
		return []string{key, key, key}
	}
	return []string{tag + "m:" + topic, tag + "u:" + topic, tag + "v:" + topic}
}

// entries is a hash of the members in partition p that boot answers for (topic, 0, session), of their generations.
func (n *names) entries(p byte, boot string) string { return n.tagged(p, "b:"+boot) }

// boots is a set of the boots that have or had entries in partition p.
func (n *names) boots(p byte) string { return n.tagged(p, "boots") }

// fence is a sorted set of the boots whose entries in partition p were swept, by when, in milliseconds.
func (n *names) fence(p byte) string { return n.tagged(p, "fence") }

// touch is what boot leaves at the master of partition p, and nothing else writes. See touchMasters.
func (n *names) touch(p byte, boot string) string { return n.tagged(p, "touch:"+boot) }

// lifecycle is the stream of the entries of partition p: see LifecycleConfig. All partitions share one unless they are on servers of
// their own.
func (n *names) lifecycle(p byte) string { return n.tagged(n.lifecyclePart(p), "lifecycle") }

// lifecycleEnd is where the stream of partition p ends: see lifecycle.lua.
func (n *names) lifecycleEnd(p byte) string { return n.tagged(n.lifecyclePart(p), "lifecycle-end") }

// lifecyclePart is the partition that has the stream of partition p.
func (n *names) lifecyclePart(p byte) byte {
	if n.sharded {
		return p
	}
	return common
}

// leases is a sorted set of boots. See boots.lua.
func (n *names) leases() string { return n.tagged(common, "leases") }

// alive is what a node writes in partition p to see whether it can.
func (n *names) alive(p byte, node string) string { return n.tagged(p, "alive:"+node) }

// common is the partition of the keys that are no topic's.
const common = 0

// revoked is a sorted set of Revocations as JSON, by the second of Until; and of wholeMark.
func (n *names) revoked() string { return n.tagged(common, "revoked") }

// nodes is a sorted set of the nodes' names, by the time of the server until which they are known to live: see parseLease.
func (n *names) nodes() string { return n.tagged(common, "nodes") }

// resumeKey is where instances that were given no key share one.
func (n *names) resumeKey() string { return n.tagged(common, "resume-key") }

// format names the format of keys and envelopes.
func (n *names) format() string { return n.prefix + ":format" }
