package redistest

import (
	"net"
	"testing"
)

// TestTheNextTestFindsASharedServerAsANewOne has one test after the other start a server. The second gets the server of
// the first, unless that did what no reset undoes.
func TestTheNextTestFindsASharedServerAsANewOne(t *testing.T) {
	shared.on.Store(true)
	defer shared.end()
	command := func(words ...string) func(*Server) { return func(s *Server) { s.CLI(words...) } }
	for _, c := range []struct {
		name  string
		do    func(*Server)
		again bool
	}{
		{"data", command("set", "k", "v"), true},
		{"a script", command("script", "load", "return 1"), true},
		{"a refusal", command("auth", "nobody", "x"), true},
		{"a pause", command("client", "pause", "60000", "write"), true},
		{"a setting", command("config", "set", "maxmemory", "1mb"), true},
		{"a user", command("acl", "setuser", "eve", "on"), true},
		{"a right less", command("acl", "setuser", "default", "-publish"), true},
		{"no rights", command("acl", "setuser", "default", "-@all"), false},
		{"a password", command("config", "set", "requirepass", "secret"), false},
		{"a file", command("save"), false},
		{"a replica", command("replicaof", "127.0.0.1", "1"), false},
		{"a replica of its own", func(s *Server) { Start(s.t, quick...).Follow(s) }, false},
		{"frozen", func(s *Server) { s.Freeze(); s.Thaw() }, false},
		{"restarted", (*Server).Restart, false},
	} {
		var first *Server
		t.Run(c.name, func(t *testing.T) {
			first = Start(t)
			c.do(first)
		})
		t.Run("behind "+c.name, func(t *testing.T) {
			s := Start(t)
			if (s == first) != c.again {
				t.Errorf("it has the same server: %t, want %t", s == first, c.again)
			}
			wantCLI(t, s, "0", "dbsize")
			wantCLI(t, s, "0", "script", "exists", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db") // of return 1
			wantCLI(t, s, "", "acl", "log")
			wantCLI(t, s, "OK", "set", "k", "v")
		})
	}
}

func TestAServerWhoseClientStaysIsNotShared(t *testing.T) {
	shared.on.Store(true)
	defer shared.end()
	var first *Server
	t.Run("a client stays", func(t *testing.T) {
		var conn net.Conn
		t.Cleanup(func() { _ = conn.Close() }) // behind the end of the server
		first = Start(t)
		var err error
		if conn, err = net.Dial("tcp", first.Addr()); err != nil {
			t.Fatal(err)
		}
	})
	if other := Start(t); other == first {
		t.Error("the next test has the same server")
	}
}
