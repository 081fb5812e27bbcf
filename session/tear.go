package session

import (
	"context"

	"wshub/pubsub"
)

// tear is called when messages of a topic did not fit into the inbox. Where the topic keeps a history they
// are read again, and what has come behind them waits; otherwise the followers are told of a gap. at is the
// position of the last one that was dropped.
func (sh *shard) tear(name string, at pubsub.Position) {
	t := sh.topics.get(name)
	if t == nil {
		return
	}
	if at.IsZero() || t.last.IsZero() {
		sh.enqueue(&message{topic: name, position: at})
		return
	}
	ext := sh.extra(t)
	if ext.rereading {
		ext.tornAgain = true
		return
	}
	ext.rereading = true
	hub := sh.hub
	since := pubsub.Position{Epoch: at.Epoch, ID: t.last}
	queued := hub.workers.do(uint64(sh.loop.Index), func(ctx context.Context) {
		replay, err := hub.broker.Replay(ctx, name, since, pubsub.Limit{Events: hub.cfg.ReplayLimit})
		replay.Recovered = replay.Recovered && replay.Missed == len(replay.Events)
		sh.loop.Post(func() { sh.mend(t, at, replay, err) })
	})
	if !queued {
		sh.mend(t, at, pubsub.Replay{}, pubsub.ErrUnavailable)
	}
}

// mend puts what was read again before what has come since; topic.fresh drops what then is there twice.
func (sh *shard) mend(t *topic, at pubsub.Position, replay pubsub.Replay, err error) {
	if t.dead {
		return
	}
	ext := t.ext
	ext.rereading = false
	var again []*message
	if err != nil || !replay.Recovered || ext.tornAgain {
		again = append(again, &message{topic: t.name, position: at})
	} else {
		for _, ev := range replay.Events {
			again = append(again, &message{topic: t.name, event: ev, position: ev.Position})
		}
	}
	ext.tornAgain = false
	ext.queue = append(again, ext.queue...)
	sh.list(t)
	sh.schedule()
}
