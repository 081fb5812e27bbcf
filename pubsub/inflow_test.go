package pubsub

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wshub/pubsub/redistest"
)

// TestNoMessageGathersForLonger has messages come that are more in a pause than one read brings: because they are large, or
// because each is a record of TLS. It runs in virtual time, so a message is late for the pause alone.
func TestNoMessageGathersForLonger(t *testing.T) {
	certs := redistest.NewCertificates(t)
	cert, err := tls.LoadX509KeyPair(certs.ServerCert, certs.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	const pause, every, count = 10 * time.Millisecond, 100 * time.Microsecond, 3000
	for _, c := range []struct {
		name    string
		size    int
		secured bool
	}{{"small", 10, false}, {"large", 2000, false}, {"a power of two", 1024 - 35, false}, {"small, TLS", 10, true}, {"large, TLS", 2000, true}} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := newBuffers()
			flow := &inflow{gather: gathering{pause: pause}}
			in, out := flow.under(c.secured)(ours), net.Conn(theirs)
			var sending sync.WaitGroup
			defer sending.Wait()
			if c.secured {
				in = tls.Client(in, &tls.Config{InsecureSkipVerify: true})
				out = tls.Server(out, &tls.Config{Certificates: []tls.Certificate{cert}})
				sending.Go(func() { _ = out.(*tls.Conn).Handshake() })
				if err := in.(*tls.Conn).Handshake(); err != nil {
					t.Fatal(err)
				}
				sending.Wait()
			}
			ours.reads = 0
			begin := time.Now()
			sending.Go(func() {
				for range count {
					_, _ = fmt.Fprintf(out, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%d\r\n%s\r\n", c.size, strings.Repeat("x", c.size))
					time.Sleep(every)
				}
			})
			f, latest := newFeed(in, flow, c.size), time.Duration(0)
			for n := range count {
				if _, err := f.hear(); err != nil {
					t.Fatal(err)
				}
				latest = max(latest, time.Since(begin)-time.Duration(n)*every)
			}
			if latest > pause {
				t.Errorf("%s: a message is late by %s", c.name, latest)
			}
			if ours.reads > count/5 {
				t.Errorf("%s: %d messages are read in %d pieces", c.name, count, ours.reads)
			}
		})
	}
}

// TestTheRestOfAMessageDoesNotGather: a large message comes in pieces amid a rush of small ones.
func TestTheRestOfAMessageDoesNotGather(t *testing.T) {
	const pause, size = time.Millisecond, 1 << 20
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newBuffers()
		ours.most = 32 << 10
		flow := &inflow{Conn: ours, gather: gathering{pause: pause}}
		f := newFeed(flow, flow, size)
		begin := time.Now()
		var sending sync.WaitGroup
		defer sending.Wait()
		say := func(size int) {
			_, _ = fmt.Fprintf(theirs, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%d\r\n%s\r\n", size, strings.Repeat("x", size))
		}
		const before = 1000
		sending.Go(func() {
			for range before {
				say(1)
				time.Sleep(100 * time.Microsecond)
			}
			say(size)
		})
		for range before + 1 {
			if _, err := f.hear(); err != nil {
				t.Fatal(err)
			}
		}
		if late := time.Since(begin) - before*100*time.Microsecond; late > pause {
			t.Errorf("a message of 1 MiB is late by %s", late)
		}
	})
}

// buffer is an end of a connection that keeps what comes until it is read, however much.
type buffer struct {
	net.Conn
	other *buffer
	most  int // bytes of a read; 0: as many as there are
	ready chan struct{}
	reads int

	mu   sync.Mutex
	text bytes.Buffer
}

func newBuffers() (ours, theirs *buffer) {
	ours, theirs = newBuffer(), newBuffer()
	ours.other, theirs.other = theirs, ours
	return ours, theirs
}

func newBuffer() *buffer { return &buffer{ready: make(chan struct{}, 1)} }

func (b *buffer) put(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.WriteString(text)
	wake(b.ready)
}

func (b *buffer) Write(text []byte) (int, error) {
	b.other.put(string(text))
	return len(text), nil
}

func (b *buffer) Read(into []byte) (int, error) {
	b.reads++
	if b.most > 0 {
		into = into[:min(len(into), b.most)]
	}
	for {
		b.mu.Lock()
		n, _ := b.text.Read(into)
		b.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		<-b.ready
	}
}
