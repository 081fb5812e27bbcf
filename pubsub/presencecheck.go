package pubsub

import (
	"cmp"
	"context"
	"fmt"
)

// membership enters a member in a topic of the trial's own, reads it and takes it off, if any topic has a presence.
func (t *trial) membership(ctx context.Context) error {
	if !t.cfg.hasMembers() {
		return nil
	}
	life, mine := trialTime.Milliseconds(), t.names.alive(t.p, t.name)
	keys := []string{mine + ":m", mine + ":u", mine + ":v", mine + ":" + t.name, mine + ":boots", mine + ":fence"}
	channel, entry := t.names.channel(t.p, "t:"+t.name), entryOf(t.name, t.name)
	kind, more := changePresence, []any{}
	if t.cfg.Lifecycle.On {
		kind, keys = changeNoted, append(keys, mine+":lifecycle", mine+":lifecycle-end")
		more = []any{t.name, "", ""}
	}
	change := func(enters bool) call {
		args := append([]any{1, 0, freshEpoch(), channel, entry, t.name, 0, t.name, 1, life, enters, t.name, ""}, more...)
		return call{kind: kind, partition: t.p, topic: t.name, keys: keys, args: args}
	}
	replies := t.run(ctx, []call{
		change(true),
		{kind: readPresence, partition: t.p, topic: t.name, keys: keys[:3], args: []any{"0", 1}},
		change(false),
		{partition: t.p, args: []any{"srem", keys[4], t.name}},
		{partition: t.p, args: []any{"del", mine + ":lifecycle", mine + ":lifecycle-end"}},
	})
	for i, reply := range replies {
		if err := reply.Err(); err != nil {
			return fmt.Errorf("%s: %w", []string{"enter", "read", "leave", "forget", "forget"}[i], err)
		}
	}
	if clients, _ := at(replies[1].Val(), 1).(int64); clients != 1 {
		return fmt.Errorf("a member that entered is not there: %w", errBadLog)
	}
	t.fact("a member entered and left")
	return t.lease(ctx)
}

// lease tries the script of the leases, on a key of the trial's own.
func (t *trial) lease(ctx context.Context) error {
	if t.routes[common].Load() != t.m {
		return nil
	}
	list := t.names.alive(common, t.name+":leases")
	err := bootsScript.Run(ctx, t.m.pub, []string{list}, t.name, trialTime.Milliseconds(), claimTime.Milliseconds(), true, "").Err()
	if _, gone := t.command(ctx, common, "zrem", list, t.name).Int(); err != nil || gone != nil {
		return fmt.Errorf("lease: %w", cmp.Or(err, gone))
	}
	return nil
}
