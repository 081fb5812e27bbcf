package pubsub

import "encoding/json"

// LifecycleConfig says whether the broker writes down who comes and goes: sessions that open and close, users that come online and go
// offline, topics with a presence that are occupied and vacated. All instances must have the same.
type LifecycleConfig struct {
	// On: each of these is an entry of a stream. Default: none is.
	On bool
	// MaxEntries is about how many entries a stream keeps; older ones are gone. Default DefaultLifecycleMax.
	MaxEntries int
}

// DefaultLifecycleMax entries are some 20 MB.
const DefaultLifecycleMax = 100_000

func (c *LifecycleConfig) setDefaults() { setDefault(&c.MaxEntries, DefaultLifecycleMax) }

// LifecycleEntry is one entry of a stream.
type LifecycleEntry struct {
	// ID is the stream's, in Redis' notation.
	ID string
	// Event is one JSON object of MaxLifecycleEvent bytes at most: see README.md. It is shared: nobody changes it.
	Event json.RawMessage
}

// MaxLifecycleEvent bounds LifecycleEntry.Event, in bytes.
const MaxLifecycleEvent = 2 << 10

// LifecycleStreams are the keys of the streams, one, or 256 in a Cluster; none without a lifecycle.
func (r *Redis) LifecycleStreams() []string {
	if !r.cfg.Lifecycle.On {
		return nil
	}
	if !r.names.sharded {
		return []string{r.names.lifecycle(common)}
	}
	list := make([]string, partitions)
	for p := range list {
		list[p] = r.names.lifecycle(byte(p))
	}
	return list
}
