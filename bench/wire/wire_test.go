package wire

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// serverFrame is a frame as a server sends it: unmasked.
func serverFrame(first byte, payload []byte) []byte {
	b := Append(nil, Opcode(first&15), payload, 0)
	b[0] = first
	b[1] &= 0x7f
	keyAt := len(b) - len(payload) - 4
	return append(b[:keyAt], payload...)
}

func TestFramesOfEveryLengthFormAreParsed(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 70000} {
		payload := bytes.Repeat([]byte("x"), size)
		b := serverFrame(0x81, payload)
		f, n, err := Parse(append(b, 0x81), 1<<20, false)
		if err != nil || n != len(b) || f.Op != Text || !f.Fin || !bytes.Equal(f.Payload, payload) {
			t.Errorf("%d bytes: got %d of %d bytes, %v", size, n, len(b), err)
		}
		for _, part := range []int{0, 1, 2, 3, 9, len(b) - 1} {
			if part >= len(b) {
				continue
			}
			if _, n, err := Parse(b[:part], 1<<20, false); n != 0 || err != nil {
				t.Errorf("%d of %d bytes: took %d, %v", part, len(b), n, err)
			}
		}
	}
}

func TestWhatServersMustNotSendIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		want  error
	}{
		"reserved bit":         {[]byte{0xc1, 0}, ErrReserved},
		"opcode 3":             {[]byte{0x83, 0}, ErrOpcode},
		"opcode 11":            {[]byte{0x8b, 0}, ErrOpcode},
		"masked":               {[]byte{0x81, 0x80, 0, 0, 0, 0}, ErrMasked},
		"fragmented ping":      {[]byte{0x09, 0}, ErrControl},
		"long ping":            {[]byte{0x89, 126, 0, 126}, ErrControl},
		"125 in two bytes":     {[]byte{0x81, 126, 0, 125}, ErrLength},
		"65535 in eight bytes": {[]byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, ErrLength},
		"negative length":      {[]byte{0x81, 127, 0x80, 0, 0, 0, 0, 1, 0, 0}, ErrLength},
		"over the limit":       {[]byte{0x81, 126, 0x10, 1}, ErrTooBig},
		"far over the limit":   {[]byte{0x81, 127, 0x7f, 0, 0, 0, 0, 1, 0, 0}, ErrTooBig},
	} {
		if _, n, err := Parse(c.frame, 4096, false); n != 0 || !errors.Is(err, c.want) {
			t.Errorf("%s: took %d bytes, %v; want %v", name, n, err, c.want)
		}
	}
}

func TestCloseCodes(t *testing.T) {
	for payload, want := range map[string]int{
		"": 1005, "\x03\xe8": 1000, "\x03\xf4drain": 1012, "\x0f\xa8": 4008,
		"\x03": 0, "\x03\xee": 0, "\x00\x00": 0, "\x03\xe8\xff": 0, "\x07\xd0": 0, "\x13\x88": 0,
	} {
		code, err := CloseCode([]byte(payload))
		if code != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d, %v; want %d", payload, code, err, want)
		}
	}
}

func TestClientFramesAreMasked(t *testing.T) {
	for _, size := range []int{0, 3, 126, 65536} {
		payload := bytes.Repeat([]byte("ab"), size/2)
		b := Append(nil, Text, payload, 0x01020304)
		if b[1]&0x80 == 0 {
			t.Fatal("mask bit missing")
		}
		body := b[len(b)-len(payload):]
		for i := range body {
			body[i] ^= byte(i%4 + 1)
		}
		if !bytes.Equal(body, payload) {
			t.Errorf("%d bytes: payload changed by masking twice", size)
		}
	}
}

func goodAnswer(key, more string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n" + more + "\r\n"
}

func TestAnswersAreCheckedStrictly(t *testing.T) {
	r := Request{Host: "h", Subprotocol: "hub.v1.json"}
	key := Key(7, 1)
	proto := "Sec-WebSocket-Protocol: hub.v1.json\r\n"
	good := goodAnswer(key, proto)
	if n, err := r.Answer([]byte(good+"\x89\x00"), key); err != nil || n != len(good) {
		t.Fatalf("good answer: %d of %d, %v", n, len(good), err)
	}
	for part := range len(good) {
		if n, err := r.Answer([]byte(good[:part]), key); n != 0 || err != nil {
			t.Fatalf("%d bytes: %d, %v", part, n, err)
		}
	}
	for name, answer := range map[string]string{
		"another key":          goodAnswer(Key(7, 2), proto),
		"no subprotocol":       goodAnswer(key, ""),
		"another subprotocol":  goodAnswer(key, "Sec-WebSocket-Protocol: x\r\n"),
		"two subprotocols":     goodAnswer(key, proto+proto),
		"extension":            goodAnswer(key, proto+"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
		"space before a colon": goodAnswer(key, proto+"X : y\r\n"),
		"no upgrade":           strings.Replace(good, "Upgrade: websocket", "Upgrade: h2c", 1),
		"no connection":        strings.Replace(good, "keep-alive, Upgrade", "keep-alive", 1),
		"HTTP/1.0":             strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1),
		"not HTTP":             "SSH-2.0-OpenSSH",
		"endless":              "HTTP/1.1 101 " + strings.Repeat("x", headLimit),
	} {
		if _, err := r.Answer([]byte(answer), key); !errors.Is(err, ErrHandshake) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	var refused Refused
	_, err := r.Answer([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n"), key)
	if !errors.As(err, &refused) || refused.Status != "503 Service Unavailable" {
		t.Errorf("503: got %v", err)
	}
}

func TestCompressedFramesAreTakenWhereAgreedOn(t *testing.T) {
	for name, c := range map[string]struct {
		frame   string
		deflate bool
		want    error
	}{
		"text":         {"\xc1\x01a", true, nil},
		"binary":       {"\xc2\x01a", true, nil},
		"not agreed":   {"\xc1\x01a", false, ErrReserved},
		"continuation": {"\xc0\x01a", true, ErrReserved},
		"ping":         {"\xc9\x01a", true, ErrReserved},
		"RSV2":         {"\xa1\x01a", true, ErrReserved},
	} {
		f, n, err := Parse([]byte(c.frame), 100, c.deflate)
		if !errors.Is(err, c.want) || err == nil && (!f.Deflated || n != 3) {
			t.Errorf("%s: %+v, %d, %v", name, f, n, err)
		}
	}
}

func TestCompressionMustBeAgreedOn(t *testing.T) {
	r := Request{Host: "x", Deflate: true}
	if !bytes.Contains(r.Append(nil, "/", Key(1, 1)), []byte("\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover")) {
		t.Error("nothing is offered")
	}
	sum := sha1.Sum([]byte(Key(1, 1) + acceptGUID))
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	for extensions, want := range map[string]bool{
		"": false, "permessage-deflate": false, "permessage-deflate; server_no_context_takeover": true,
		"permessage-deflate; client_no_context_takeover; server_no_context_takeover": true, "other; server_no_context_takeover": false,
	} {
		answer := head
		if extensions != "" {
			answer += "Sec-WebSocket-Extensions: " + extensions + "\r\n"
		}
		if _, err := r.Answer([]byte(answer+"\r\n"), Key(1, 1)); (err == nil) != want {
			t.Errorf("%q: %v", extensions, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(serverFrame(0x81, []byte("hello")))
	f.Add(serverFrame(0x82, bytes.Repeat([]byte("x"), 300)))
	f.Add([]byte{0x88, 2, 3, 0xe8})
	f.Add([]byte{0x81, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n, err := Parse(b, 4096, false)
		if err != nil && n != 0 {
			t.Fatalf("took %d bytes with %v", n, err)
		}
		if n == 0 {
			return
		}
		first := byte(frame.Op)
		if frame.Fin {
			first |= 0x80
		}
		if again := serverFrame(first, frame.Payload); !bytes.Equal(again, b[:n]) {
			t.Fatalf("% x is written as % x", b[:n], again)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	key := Key(1, 1)
	f.Add([]byte(goodAnswer(key, "")))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Request{}.Answer(b, key)
		if n > len(b) || n < 0 || n > 0 && err != nil {
			t.Fatalf("took %d of %d bytes, %v", n, len(b), err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	frame := serverFrame(0x81, bytes.Repeat([]byte("x"), 128))
	for b.Loop() {
		if _, n, err := Parse(frame, 1<<20, false); n == 0 || err != nil {
			b.Fatal(err)
		}
	}
}
