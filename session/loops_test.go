package session

import "os"

// A connection's loop goes by its descriptor's number, and the socket of a client in the same process has a number too:
// with two loops one client after the other comes to the same one, until something else takes a number.

// spread is how many loops a node has whose clients are to be on different ones: one client after the other comes to
// another of three.
const spread = 3

// enterOn is enter for a client that comes to a given loop. A client that came to another one goes again, and a file takes a
// number until the test ends.
func (n *node) enterOn(loop int, query string) (*client, heard) {
	n.t.Helper()
	for range 100 { // a few, and some for the numbers that are free between those in use
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
