package engine

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// TLSBroken is the cause of a connection's end whose client broke a rule of TLS, or sent an alert.
var TLSBroken = &Cause{"tls", 1006, ""}

// tlsLayer is the TLS of one connection: the net.Conn under a tls.Conn. During the handshake, which blocks, it is used by a
// goroutine of the handshake's own; from then on by the loop alone, which hands it whole records, one at a time, and
// takes those that crypto/tls writes. So nothing blocks there, and crypto/tls holds no part of a record.
type tlsLayer struct {
	conn      *Conn
	tls       *tls.Conn
	handshake *tlsHandshake // nil once it is over
	partial   []byte        // of a record
	futile    int           // see maxFutile
}

const (
	// sealPiece bounds what is encrypted before it is written, in bytes.
	sealPiece = 128 << 10
	// maxFutile bounds the records that carry no text, in bytes: alerts, empty ones, updates of keys. futileShare bytes of text
	// make up for one: clients update their keys once in many megabytes. crypto/tls bounds the number of such records between
	// two pieces of text, and keeps up to 64 KiB of a message that never ends.
	maxFutile   = 4 << 10
	futileShare = 16

	futileCost  = 15 * time.Microsecond // an update of keys: the next ones both ways, and our answer
	recordCost  = time.Microsecond      // a record decrypted or encrypted, besides its bytes
	kibSealCost = time.Microsecond      // 1 KiB of it
)

// tlsBuffers are what the layers of one loop share.
type tlsBuffers struct {
	feeding []byte // the rest of the record that crypto/tls reads
	raw     []byte // where it keeps the record meanwhile
	plain   []byte // what was decrypted of one read
	sealed  []byte // records to be written
}

func newTLSBuffers(readBuffer int) tlsBuffers {
	return tlsBuffers{raw: make([]byte, 0, 32<<10), plain: make([]byte, 0, readBuffer+2*maxRecord)}
}

// errDry is a temporary error of a read: crypto/tls goes on where it stood the next time.
var errDry net.Error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "no record has come" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

var errFutile = errors.New("too many records without text")

// layer is c's TLS once its handshake is over, else nil.
func (c *Conn) layer() *tlsLayer {
	if t := c.loop.layers[c]; t != nil && t.handshake == nil {
		return t
	}
	return nil
}

// held is the memory that input holds which can't be decrypted yet, or has not been read by the handshake.
func (t *tlsLayer) held() int {
	switch {
	case t == nil:
		return 0
	case t.handshake != nil:
		return t.handshake.fed
	}
	return cap(t.partial)
}

// receiveWire takes what came from the socket of a server that speaks TLS.
func (c *Conn) receiveWire(data []byte) {
	switch c.state {
	case hailing:
		c.receiveHello(data)
	case shaking:
		c.feedHandshake(data)
	case departing, lingering, ended:
		c.receive(data) // nobody wants to know what it says
	default:
		c.receiveSealed(data)
	}
}

// receiveSealed decrypts all records that have come whole, and then works on what they say.
func (c *Conn) receiveSealed(data []byte) {
	t := c.layer()
	if t == nil {
		return
	}
	l := c.loop
	frames := l.count.framesIn.Load()
	plain, records, err := t.open(data)
	l.spend(time.Duration(records)*recordCost + time.Duration(len(plain))*kibSealCost>>10)
	c.flushSealed() // answers of crypto/tls itself
	if len(plain) > 0 {
		c.receive(plain)
	} else {
		c.countHeld(false)
	}
	// Small records cost as much as small frames.
	small := records - len(plain)/thinFragment - int(l.count.framesIn.Load()-frames)
	if r := l.rests[c]; r != nil {
		r.records += small
	} else {
		c.countChatter(small)
	}
	switch {
	case err == nil || c.state >= departing:
	case errors.Is(err, io.EOF):
		c.behindRest(c.closeNotified)
	default:
		c.behindRest(c.breakTLS)
	}
}

// closeNotified is for a client that announced that no more will come from it. A FIN is usually behind that.
func (c *Conn) closeNotified() {
	if c.state == closing || c.state == awaiting {
		c.move(departing)
		c.leave()
		return
	}
	c.cut()
}

// breakTLS ends c, whose client broke TLS. crypto/tls has sent an alert, and refuses to send anything more.
func (c *Conn) breakTLS() {
	if c.state == open {
		c.finish(TLSBroken)
	} else if c.state < open {
		c.loop.count.closed.Add(TLSBroken.Name)
	}
	c.move(departing)
	c.release()
	c.leave()
}

// open decrypts the records in data, which is no more than a read brings, and what came before it. plain is valid until the next
// call for any layer of the loop.
func (t *tlsLayer) open(data []byte) (plain []byte, records int, err error) {
	b := &t.conn.loop.tls
	lend(t.tls, b.raw)
	defer letGo(t.tls)
	plain = b.plain[:0]
	for err == nil {
		var record []byte
		if record, data = t.nextRecord(data); record == nil {
			break
		}
		records++
		had := len(plain)
		plain, err = t.openRecord(plain, record)
		if !t.account(len(record), len(plain)-had) && err == nil {
			err = errFutile
		}
	}
	return plain, records, err
}

// account takes note of a record of so many bytes with so much text. False means that too many have none.
func (t *tlsLayer) account(record, text int) bool {
	if text > 0 {
		t.futile = max(t.futile-text, 0)
		return true
	}
	t.conn.loop.spend(futileCost)
	t.futile += record * futileShare
	return t.futile <= maxFutile*futileShare
}

// openRecord appends what record says to plain, which has room for it.
func (t *tlsLayer) openRecord(plain, record []byte) ([]byte, error) {
	b := &t.conn.loop.tls
	b.feeding = record
	for len(b.feeding) > 0 {
		n, err := t.tls.Read(plain[len(plain):cap(plain)])
		plain = plain[:len(plain)+n]
		if err == errDry { //nolint:errorlint // it is returned as it is
			break
		}
		if err != nil {
			return plain, err
		}
	}
	b.feeding = nil
	return plain, nil
}

// nextRecord takes the next whole record out of data, or keeps data if there is none.
func (t *tlsLayer) nextRecord(data []byte) (record, rest []byte) {
	if len(t.partial) == 0 {
		if n := recordSize(data); n > 0 && n <= len(data) {
			return data[:n], data[n:]
		}
	}
	for {
		size := recordSize(t.partial)
		if size > 0 && len(t.partial) == size {
			record, t.partial = t.partial, nil
			return record, data
		}
		if len(data) == 0 {
			return nil, nil
		}
		n := min(cmp.Or(size, recordHeader)-len(t.partial), len(data))
		t.partial = gather(t.partial, data[:n], maxRecord)
		data = data[n:]
	}
}

// sendSealed encrypts b and sends it. What is not encrypted yet is an answer to those who speak no TLS.
func (c *Conn) sendSealed(b []byte) {
	t := c.layer()
	if t == nil {
		c.sendRaw(b)
		return
	}
	for len(b) > 0 && c.state != ended {
		piece := b[:min(len(b), sealPiece)]
		b = b[len(piece):]
		c.loop.spend(recordCost + time.Duration(len(piece))*kibSealCost>>10)
		if _, err := t.tls.Write(piece); err != nil { // an alert was sent before
			c.cut()
			return
		}
		c.flushSealed()
	}
}

// flushSealed sends the records that crypto/tls has written.
func (c *Conn) flushSealed() {
	b := &c.loop.tls
	if len(b.sealed) == 0 {
		return
	}
	out := b.sealed
	b.sealed = nil // whoever is told of an error may write to others
	c.sendRaw(out)
	b.sealed = out[:0]
}

// endTLS announces that nothing more will come from us (RFC 8446, 6.1).
func (c *Conn) endTLS() {
	if t := c.layer(); t != nil && c.state != ended {
		_ = t.tls.CloseWrite()
		c.flushSealed()
	}
}

// Read is for crypto/tls.
func (t *tlsLayer) Read(b []byte) (int, error) {
	if h := t.handshake; h != nil {
		return h.read(b)
	}
	from := &t.conn.loop.tls.feeding
	if len(*from) == 0 {
		return 0, errDry
	}
	n := copy(b, *from)
	*from = (*from)[n:]
	return n, nil
}

// Write is for crypto/tls. It takes all: an error would be the last word of the connection.
func (t *tlsLayer) Write(b []byte) (int, error) {
	if h := t.handshake; h != nil {
		return h.write(b)
	}
	to := &t.conn.loop.tls.sealed
	*to = append(*to, b...)
	return len(b), nil
}

// Close and the others are for crypto/tls, which has no need of them here.
func (t *tlsLayer) Close() error                     { return nil }
func (t *tlsLayer) LocalAddr() net.Addr              { return t.conn.loop.srv.addr }
func (t *tlsLayer) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *tlsLayer) SetDeadline(time.Time) error      { return nil }
func (t *tlsLayer) SetReadDeadline(time.Time) error  { return nil }
func (t *tlsLayer) SetWriteDeadline(time.Time) error { return nil }
