package pubsub

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// partitions is P, fixed for ever: it decides which keys a topic has.
const partitions = 256

// partition is FNV-1a of topic, 32 bits, mod P.
func partition(topic string) byte {
	h := uint32(2166136261)
	for i := range len(topic) {
		h = (h ^ uint32(topic[i])) * 16777619
	}
	return byte(h % partitions)
}

// logKeys are the keys of topic's log: its partition's state, its stream, and its record, which is where it
// ends. The tag in braces puts a partition's keys on one node of a cluster.
func logKeys(topic string) []string {
	tag := fmt.Sprintf("hub:{p%02x}:", partition(topic))
	return []string{tag + "epoch", tag + "s:" + topic, tag + "r:" + topic}
}

// aliveKey, with the node's name behind it, is what a node writes to see whether it can.
const aliveKey = "hub:alive:"

// onceKey is where the result of p's first publication is kept. Lengths keep names apart that hold
// colons.
func onceKey(p *Publication) string {
	return fmt.Sprintf("hub:{p%02x}:i:%d:%s:%d:%s:%s", partition(p.Topic), len(p.Topic), p.Topic, len(p.Caller), p.Caller, p.Key)
}

// freshEpoch is a random epoch, never zero, as it is stored.
func freshEpoch() string { return storedEpoch(max(rand.Uint64(), 1)) }

// storedEpoch is an epoch as it is stored.
func storedEpoch(epoch uint64) string { return string(binary.BigEndian.AppendUint64(nil, epoch)) }

// parsePartition reads the epoch that partition.lua stored. ok is false for anything else.
func parsePartition(s string) (epoch uint64, ok bool) {
	if len(s) < 24 {
		return 0, false
	}
	epoch = binary.BigEndian.Uint64([]byte(s))
	return epoch, epoch != 0
}
