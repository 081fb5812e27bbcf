package session

import "os"

// enterOn is enter for a client that comes to a given loop. A connection's loop goes by its descriptor's number, and the
// client's own socket has a number too: with two loops one client after the other comes to the same one, until something
// else takes a number. So who came to another loop goes again, and a file takes a number until the test ends.
func (n *node) enterOn(loop int, query string) (*client, heard) {
	n.t.Helper()
	for range 100 { // one or two, and some for the numbers that are free between those in use
		c, welcome := n.enter(query)
		if n.loopOf(welcome) == loop {
			return c, welcome
		}
		_ = c.conn.CloseNow()
		n.eventually("who came to another loop has gone", func() bool { return n.loopOf(welcome) < 0 })
		f, err := os.Open(os.DevNull)
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { _ = f.Close() })
	}
	n.t.Fatalf("no client comes to loop %d", loop)
	return nil, heard{}
}

// loopOf is the loop of the session that was welcomed, -1 if there is none of its name.
func (n *node) loopOf(welcome heard) int {
	id, _ := parseName(welcome.Session)
	at := -1
	n.onEveryLoop(func(sh *shard) {
		if sh.named[id] != nil {
			at = sh.loop.Index
		}
	})
	return at
}
