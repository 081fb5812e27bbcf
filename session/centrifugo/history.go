package centrifugo

import (
	"strings"

	pb "github.com/centrifugal/protocol"

	"wshub/pubsub"
	"wshub/session"
	"wshub/session/centrifugo/offset"
)

// maxHistory bounds the data of one answer to history, in bytes. A client that asks for more is told so.
const maxHistory = 1 << 20

// history is a request to read a channel's history. The log is read in pages; the answer has all that was asked for, since
// clients take one that has fewer events than its limit for the end.
type history struct {
	command
	channel   string
	backwards bool
	left      int  // how many more events are wanted
	capped    bool // the client asks for as many as may be
	strict    bool // what is read must join what the client has, or the page before
	result    *pb.HistoryResult
	bytes     int // of the result's data; the session owes them
}

func (c command) history(r *pb.HistoryRequest) {
	hub := c.s.Hub()
	h := &history{
		command: c, channel: strings.Clone(r.Channel), backwards: r.Reverse, left: int(r.Limit), capped: r.Limit < 0,
		strict: r.Since != nil && r.Since.Epoch != "", result: &pb.HistoryResult{Publications: []*pb.Publication{}},
	}
	if !hub.Keeps(h.channel) {
		if c.s.MayReadHistory(h.channel) {
			c.fail(errNotAvailable)
		} else {
			c.fail(errDenied)
		}
		return
	}
	if most := hub.Config().ReplayLimit; h.left < 0 || h.left > most {
		h.left = most
	}
	var from pubsub.Position
	if r.Since != nil {
		from = *since(strings.Clone(r.Since.Epoch), r.Since.Offset)
	}
	h.read(from)
}

func (h *history) read(from pubsub.Position) {
	h.s.History(h.channel, from, h.left, h.backwards, h.page)
}

// page adds a page to the answer, and reads the next one if there may be more.
func (h *history) page(replay pubsub.Replay, why session.Refusal) {
	switch {
	case !why.None():
		h.s.CountError(why.Code)
		h.done(errorOf(why))
		return
	case h.strict && !replay.Recovered:
		h.done(errUnrecoverable)
		return
	}
	if h.result.Epoch == "" || !h.backwards { // a later page may have events that were published behind an earlier one's head
		h.result.Epoch, h.result.Offset = offset.Of(replay.Head)
	}
	h.left -= len(replay.Events)
	bytes := 0
	for _, ev := range replay.Events {
		h.result.Publications = append(h.result.Publications, publication(ev))
		bytes += len(ev.Data)
	}
	h.bytes += bytes
	if h.s.Owe(bytes); !h.s.Open() { // it owes too much
		return
	}
	if h.left == 0 || len(replay.Events) == 0 {
		h.done(nil)
		return
	}
	last := replay.Events[len(replay.Events)-1].Position
	switch {
	case !h.backwards && last == replay.Head, h.capped && h.bytes >= maxHistory:
		h.done(nil)
	case h.bytes >= maxHistory:
		h.done(errLimit)
	default:
		h.strict = true
		h.read(last)
	}
}

// done answers: with an error, or with nil by the result.
func (h *history) done(err *pb.Error) {
	h.s.Owe(-h.bytes)
	if err != nil {
		h.fail(err)
		return
	}
	h.answer(&pb.Reply{History: h.result})
}
