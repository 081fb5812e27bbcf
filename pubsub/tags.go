package pubsub

import (
	_ "embed"
	"encoding/json"
	"strings"
)

// clusterSlots is the number of slots of a Redis Cluster (cluster specification, "Key distribution model").
const clusterSlots = 16384

//go:embed tags.json
var tagsJSON []byte

// tags are the partitions' hash tags, fixed for ever as partitions is. Tag p has slot 64·p+32, the middle of the
// p-th of 256 equal pieces: N masters that share the slots evenly have at most ⌈256/N⌉ partitions each.
var tags = readTags()

func readTags() [partitions]string {
	var file struct {
		Tags [partitions]string
	}
	if err := json.Unmarshal(tagsJSON, &file); err != nil {
		panic("tags.json: " + err.Error())
	}
	return file.Tags
}

// slotOf is the slot of key, which may be a sharded channel too: CRC16 of its hash tag, or of all of it if it has
// none. The tag stands between the first { and the first } behind that, and is not empty (cluster specification,
// "Hash tags").
func slotOf(key string) uint16 {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	return crc16(key) % clusterSlots
}

// crc16 is CRC-16/XMODEM: polynomial 0x1021, begins with 0, no reflection.
func crc16(s string) (crc uint16) {
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*0x1021
		}
	}
	return crc
}
