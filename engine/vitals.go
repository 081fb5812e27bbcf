package engine

import "time"

// This file is for those who look at connections. It keeps nothing for them: it asks the kernel, and the timers.

// Vitals are how a connection is.
type Vitals struct {
	// Since is when it was opened or up to a minute before, the same each time. It is wrong for one that is older than 45 days.
	Since time.Time
	// Heard is how long ago bytes last came from the peer, RTT the round trip to it. Both are below 0 where the kernel
	// does not say: it does on Linux.
	Heard, RTT time.Duration
	// NextPing is the time until the next ping, to within 100 ms. AwaitsPong: nothing was heard since the last one.
	NextPing   time.Duration
	AwaitsPong bool
	// Owed is as Conn.Owe has it, in bytes.
	Owed int64
}

// Vitals is how c is. It costs a system call.
func (c *Conn) Vitals() Vitals {
	l := c.loop
	v := Vitals{
		Since:      time.Now().Add(-l.age % time.Minute).Add(-time.Duration(minutes(l.age)-c.born) * time.Minute).Truncate(time.Second),
		NextPing:   time.Duration(max(int32(c.links.due-l.now), 0)) * tick,
		AwaitsPong: c.pinged && c.as == asWebSocket,
		Owed:       l.backlogs[c].owed,
	}
	v.Heard, v.RTT = c.socket.vitals()
	return v
}

// minutes is an age as a Conn keeps it.
func minutes(age time.Duration) uint16 { return uint16(age / time.Minute) }

// vitals is how long ago the socket got bytes, and its round trip; below 0 where that is unknown.
func (s socket) vitals() (heard, rtt time.Duration) {
	if !s.open() {
		return -1, -1
	}
	return vitals(s.fd())
}

// Parts are how many parts EachOf cuts a loop's connections into.
const Parts = wheelSlots + 1

// EachOf calls f for the open connections of one part, 0 to Parts-1, some thousandths of all. f must not close them or
// write to them. Between two calls connections may move from one part to another: who looks through all parts may miss
// one, or see it twice. On the loop.
func (l *Loop) EachOf(part int, f func(*Conn)) {
	l.conns.eachOf(part, func(c *Conn) {
		if c.state == open {
			f(c)
		}
	})
}

// Backlog is what waits for one connection, in bytes.
type Backlog struct {
	Queued int64         // in the engine
	Owed   int64         // see Conn.Owe
	Still  time.Duration // since bytes last left, to within 100 ms
}

// backlogLook is somebody who looks at all that have a backlog.
type backlogLook struct {
	see  func(*Conn, Backlog)
	done func()
}

// fewBacklogs are looked at in one turn: some 0.1 ms.
const fewBacklogs = 1024

// EachBacklog calls see for each open connection for which bytes wait, and then done, within two seconds: of many they
// are called by the loop's own sweep over them, over several turns. see must not close them or write to them. On the
// loop.
func (l *Loop) EachBacklog(see func(*Conn, Backlog), done func()) {
	look := &backlogLook{see, done}
	if len(l.backlogs) > fewBacklogs {
		l.curious = append(l.curious, look)
		return
	}
	for c, b := range l.backlogs {
		if c.state == open {
			c.show(b, []*backlogLook{look})
		}
	}
	done()
}

// show shows c's account b to those who look.
func (c *Conn) show(b backlog, to []*backlogLook) {
	for _, look := range to {
		look.see(c, Backlog{int64(c.queued), b.owed, time.Duration(c.loop.now-b.moved) * tick})
	}
}
