package pubsub

import (
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"wshub/pubsub/redistest"
)

// update makes the test write what it would otherwise compare:
//
//	go test ./pubsub -run Tags -update
var update = flag.Bool("update", false, "write tags.json")

// tagFor is partition p's tag: the shortest with p's slot, of those the first in order.
func tagFor(p int) string {
	head, want := fmt.Sprintf("p%02x", p), uint16(64*p+32)
	for more := 0; ; more++ {
		if tag, ok := extend(head, more, want); ok {
			return tag
		}
	}
}

// extend puts so many digits or letters behind head that the whole has the slot.
func extend(head string, more int, slot uint16) (tag string, ok bool) {
	if more == 0 {
		return head, slotOf(head) == slot
	}
	for _, c := range "0123456789abcdefghijklmnopqrstuvwxyz" {
		if tag, ok := extend(head+string(c), more-1, slot); ok {
			return tag, true
		}
	}
	return "", false
}

func TestTagsAreTheShortestWithTheirSlots(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\t\"hash\": \"fnv1a32\",\n\t\"partitions\": %d,\n\t\"tags\": [", partitions)
	for p := range partitions {
		if p > 0 {
			b.WriteByte(',')
		}
		if p%8 == 0 {
			b.WriteString("\n\t\t")
		} else {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%q", tagFor(p))
	}
	b.WriteString("\n\t]\n}\n")
	if *update {
		if err := os.WriteFile("tags.json", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(tagsJSON) != b.String() {
		t.Error("tags.json is not what the rule gives; go test ./pubsub -run Tags -update")
	}
}

// dealt are the last slots of n masters, as redis-cli --cluster create deals them. Its arithmetic is that of C's float
// (clusterManagerCommandCreate in redis-cli.c).
func dealt(n int) (last []int) {
	perNode, cursor, first := float32(clusterSlots)/float32(n), float32(0), 0
	for i := range n {
		l := int(math.Round(float64(cursor + perNode - 1)))
		if l > clusterSlots || i == n-1 {
			l = clusterSlots - 1
		}
		l = max(l, first)
		last = append(last, l)
		first = l + 1
		cursor += perNode
	}
	return last
}

// evenly are the last slots of n masters of which the first have one more where it doesn't come out even.
func evenly(n int) (last []int) {
	at := -1
	for i := range n {
		at += clusterSlots / n
		if i < clusterSlots%n {
			at++
		}
		last = append(last, at)
	}
	return last
}

func TestTagsBalanceOverUpTo64Masters(t *testing.T) {
	for name, deal := range map[string]func(int) []int{"redis-cli": dealt, "the first have more": evenly} {
		for n := 1; n <= 64; n++ {
			last := deal(n)
			if last[n-1] != clusterSlots-1 {
				t.Fatalf("%s, %d masters: slots end at %d", name, n, last[n-1])
			}
			has, master := make([]int, n), 0
			for p := range partitions {
				for int(slotOf(tags[p])) > last[master] {
					master++
				}
				has[master]++
			}
			most, sum := (partitions+n-1)/n, 0
			for master, count := range has {
				if sum += count; count > most {
					t.Errorf("%s, master %d of %d serves %d partitions, at most %d are fair", name, master, n, count, most)
				}
			}
			if sum != partitions {
				t.Errorf("%s, %d masters serve %d partitions", name, n, sum)
			}
		}
	}
}

func TestSlotsAreThoseOfTheServer(t *testing.T) {
	bus, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = bus.Close()
	_, port, _ := net.SplitHostPort(bus.Addr().String())
	server := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-port", port)
	keys := []string{
		"", "123456789", "foo{bar}", "foo{}{bar}", "foo{{bar}}", "foo{bar}{zap}", "foo}{bar", "}foo{bar}", "{", "}", "{}", "a{b",
		"größe {ö}", strings.Repeat("x", 1000),
	}
	for p := range partitions {
		keys = append(keys, tags[p], fmt.Sprintf("hub:{%s}:t:{topic%d}", tags[p], p))
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	for _, key := range keys {
		if want, err := client.ClusterKeySlot(t.Context(), key).Result(); err != nil || int64(slotOf(key)) != want {
			t.Errorf("%.40q has slot %d, the server says %d, %v", key, slotOf(key), want, err)
		}
	}
}
