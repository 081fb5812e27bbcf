package engine

import (
	"net"
	"testing"

	"github.com/lesismal/nbio"
)

func TestAConnectionKeepsNoAddresses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nb, err := nbio.NBConn(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer nb.Close()
	if nb.LocalAddr() == noAddress {
		t.Fatal("the test sees nothing")
	}
	forgetAddresses(nb)
	if nb.LocalAddr() != noAddress || nb.RemoteAddr() != noAddress {
		t.Errorf("kept %v and %v: this version of nbio has them elsewhere", nb.LocalAddr(), nb.RemoteAddr())
	}
}
