package fleet

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"wshub/bench/wire"
)

// centrifugoProtobuf is Centrifugo's client protocol in Protobuf: binary frames, and each message behind
// its length.
type centrifugoProtobuf struct{ centrifugo }

func (centrifugoProtobuf) Subprotocol() string { return "centrifuge-protobuf" }
func (centrifugoProtobuf) Opcode() wire.Opcode { return wire.Binary }

func (p centrifugoProtobuf) Open(dst []byte, e Entry) []byte {
	connect := appendBytes(nil, 4, "hubbench")
	if e.Token != "" {
		connect = appendBytes(connect, 1, e.Token)
	}
	if e.Topic == "" && e.Since != "" {
		entry := appendBytes(nil, 1, e.Own)
		connect = appendBytes(connect, 3, appendBytes(entry, 2, appendRecover(nil, e.Since)))
	}
	dst = appendCommand(dst, connectID, 4, connect)
	if e.Topic == "" {
		return dst
	}
	return p.Subscribe(dst, e.Topic, e.Since)
}

func (centrifugoProtobuf) Subscribe(dst []byte, topic, since string) []byte {
	subscribe := appendBytes(nil, 1, topic)
	subscribe = appendUint(subscribe, 10, 1) // recoverable
	if since != "" {
		subscribe = appendRecover(subscribe, since)
	}
	return appendCommand(dst, subscribeID, 5, subscribe)
}

// appendRecover appends the fields that ask for what was missed.
func appendRecover(dst []byte, since string) []byte {
	offset, epoch, _ := strings.Cut(since, ":")
	n, _ := strconv.ParseUint(offset, 10, 64) // it was written by readOffset
	return appendBytes(appendUint(appendUint(dst, 3, 1), 7, n), 6, epoch)
}

func (centrifugoProtobuf) Publish(dst []byte, id int, topic string, data []byte) []byte {
	return appendCommand(dst, id+subscribeID, 7, appendBytes(appendBytes(nil, 1, topic), 2, data))
}

var errLength = errors.New("message behind a wrong length")

func (centrifugoProtobuf) Split(frame []byte) (message, rest []byte, err error) {
	size, n := binary.Uvarint(frame)
	if n <= 0 || size > uint64(len(frame)-n) {
		return nil, nil, errLength
	}
	end := n + int(size)
	if end < len(frame) {
		rest = frame[end:]
	}
	return frame[n:end], rest, nil
}

func (centrifugoProtobuf) Parse(dst []Message, b []byte) ([]Message, error) {
	w := walk{protobuf: true, rest: b}
	return readReply(dst, &w, "\x00")
}

// appendCommand appends a command whose request is the field number kind.
func appendCommand(dst []byte, id, kind int, request []byte) []byte {
	command := appendBytes(appendUint(nil, 1, uint64(id)), kind, request)
	dst = binary.AppendUvarint(dst, uint64(len(command)))
	return append(dst, command...)
}

func appendUint(dst []byte, number int, n uint64) []byte {
	return binary.AppendUvarint(append(dst, byte(number)<<3), n)
}

func appendBytes[T string | []byte](dst []byte, number int, b T) []byte {
	dst = binary.AppendUvarint(append(dst, byte(number)<<3|2), uint64(len(b)))
	return append(dst, b...)
}

// Publication is an event as Centrifugo's nodes tell each other of it on Redis, where a channel has no history: the message
// Publication of its protocol, with the data alone.
func Publication(data []byte) []byte { return appendBytes(nil, 4, data) }
