package fleet

import (
	"golang.org/x/sys/unix"

	"wshub/bench/probe"
	"wshub/bench/wire"
)

// outLimit is how much a client may have written that its socket did not take, before Send passes it
// over: the server does not read.
const outLimit = 1 << 20

// send sends a message.
func (l *loop) send(c *client, message []byte) {
	l.frame = wire.Append(l.frame[:0], l.opcode, message, l.rand.Uint32())
	l.write(c, l.frame)
}

// write sends b, over TLS where the server speaks it.
func (l *loop) write(c *client, b []byte) {
	if l.target.tls == nil {
		l.writeRaw(c, b)
		return
	}
	s := l.seals[l.place(c)]
	_, _ = s.tls.Write(b) // a broken one is left to the read that follows
	l.flushSealed(s)
}

// writeRaw sends b, or keeps what the socket does not take. A broken socket is left to the read that
// follows.
func (l *loop) writeRaw(c *client, b []byte) {
	place := l.place(c)
	if queued, ok := l.out[place]; ok {
		l.out[place] = append(queued, b...)
		return
	}
	n, err := unix.Write(int(c.fd), b)
	if err != nil && err != unix.EAGAIN {
		return
	}
	if n = max(n, 0); n < len(b) {
		l.out[place] = append([]byte(nil), b[n:]...)
		_ = l.register(c, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

func (l *loop) flush(c *client) {
	place := l.place(c)
	b := l.out[place]
	n, err := unix.Write(int(c.fd), b)
	if err == unix.EAGAIN {
		return
	}
	if err == nil && n < len(b) {
		l.out[place] = b[n:]
		return
	}
	delete(l.out, place)
	_ = l.register(c, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
}

// sender publishes over the clients' own connections.
type sender struct {
	sending bool
	sends   Pace
	size    int
	topics  []int32 // whose first follower lives here
	turn    int
	seqs    []uint64 // by topic, of all topics: where WriteOff left off
	payload []byte
}

func (l *loop) startSending(o Order) {
	topics := l.topology.Number(l.cfg.Clients)
	l.topics = l.topics[:0]
	l.each(0, topics, func(c *client) { l.topics = append(l.topics, c.number) })
	if len(l.topics) == 0 {
		return
	}
	l.seqs = append(l.seqs, make([]uint64, topics-len(l.seqs))...)
	share := o.Rate * float64(len(l.topics)) / float64(topics)
	l.sends, l.size, l.sending = NewPace(o.At, share), o.Size, true
}

func (l *loop) nextSend() int64 {
	if !l.sending {
		return farAway
	}
	return l.sends.Next()
}

func (l *loop) sendDue(now int64) {
	for burst := 0; burst < sendBurst && l.sending; burst++ {
		at, due := l.sends.Take(now)
		if !due {
			return
		}
		topic := l.topics[l.turn%len(l.topics)]
		l.turn++
		l.publish(&l.clients[(topic-int32(l.index))/int32(l.step)], topic, at)
	}
}

func (l *loop) publish(c *client, topic int32, at int64) {
	if c.state != ready || l.target.request.Stream || len(l.out[l.place(c)]) > outLimit {
		l.counts.Unsent++
		return
	}
	l.seqs[topic]++
	l.counts.Sent++
	name := l.topology.Name(int(topic))
	l.payload = probe.Append(l.payload[:0], l.runID, probe.Event{Topic: name, Seq: l.seqs[topic], At: at}, l.size)
	l.send(c, l.protocol.Publish(nil, int(l.seqs[topic]), name, l.payload))
}
