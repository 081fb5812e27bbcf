package webhook

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// rawEndpoint answers each request with these bytes, and keeps the connection open.
func rawEndpoint(t *testing.T, answer string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, answer)
				}
				_, _ = io.Copy(io.Discard, c) // until the hub closes it
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/hook?key=secret-key"
}

func TestAStrangeAnswerEndsTheTryAndFillsNoLog(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	for name, c := range map[string]struct {
		answer string
		kind   kind
	}{
		"another protocol":        {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", status},
		"101 without a protocol":  {"HTTP/1.1 101 Switching Protocols\r\n\r\n", status},
		"a Location that is none": {"HTTP/1.1 302 Found\r\nLocation: http://[secret-key" + long + "\r\nContent-Length: 0\r\n\r\n", redirected},
		"a Location elsewhere":    {"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", redirected},
		"a banner":                {"SSH-2.0-" + long + "\r\n", connection},
		"a status that is none":   {"HTTP/1.1 " + long + "\r\n\r\n", connection},
		"a header that is none":   {"HTTP/1.1 204 No Content\r\n" + long + "\r\n\r\n", connection},
		"bytes that are no text":  {strings.Repeat("\xff\x00", 1000) + "\r\n", connection},
	} {
		t.Run(name, func(t *testing.T) {
			w, h, log := hooked(t, rawEndpoint(t, c.answer), Config{AllowPrivate: true})
			if again := h.handle(t.Context(), batch(1, "user_online")); again == 0 || w.Stats().Tries[kindNames[c.kind]] != 1 {
				t.Errorf("again in %s: %v", again, w.Stats().Tries)
			}
			if text := log.String(); len(text) > 2<<10 || strings.Contains(text, "secret-key") {
				t.Errorf("%d bytes were logged: %.300s", len(text), text)
			}
		})
	}
}

// As Node does after 5 s: the request is on its way when the connection ends.
func TestAnEndpointMayCloseIdleConnections(t *testing.T) {
	taken := make(chan string, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				taken <- r.Header.Get("Idempotency-Key")
				_, _ = in.ReadByte() // of the next request
			}()
		}
	}()
	w, h, log := hooked(t, "http://"+l.Addr().String(), Config{AllowPrivate: true})
	for range 3 {
		if again := h.handle(t.Context(), batch(1, "user_online")); again != 0 {
			t.Fatalf("again in %s: %v, %s", again, w.Stats().Tries, log)
		}
		if key := <-taken; key != "" {
			t.Errorf("the header was sent: %q", key)
		}
	}
}
