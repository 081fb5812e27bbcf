package pubsub

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// partitions is P, fixed for ever: it decides which keys a topic has.
const partitions = 256

// partition is FNV-1a of topic, 32 bits, mod P. That of a hidden topic is part of its name: see hidden.go.
func partition(topic string) byte {
	if isHidden(topic) {
		return hiddenPartition(topic)
	}
	h := uint32(2166136261)
	for i := range len(topic) {
		h = (h ^ uint32(topic[i])) * 16777619
	}
	return byte(h % partitions)
}

// once is where the result of p's first publication is kept. Lengths keep names apart that hold
// colons.
func (n *names) once(p *Publication) string {
	return n.tagged(partition(p.Topic), fmt.Sprintf("i:%d:%s:%d:%s:%s", len(p.Topic), p.Topic, len(p.Caller), p.Caller, p.Key))
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
