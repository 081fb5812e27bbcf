package session

import (
	"container/list"

	"wshub/engine"
)

// lobby holds, in the order of their coming, a loop's connections whose clients have not said yet who they are. They take
// places that others could have, so it is small: for one more than it holds, the oldest goes.
type lobby struct {
	limit   int
	waiting list.List // of *engine.Conn
}

// place is where a client waits in its loop's lobby.
type place struct {
	lobby *lobby
	at    *list.Element
}

// lobbyShare of a server's places may be in lobbies.
const lobbyShare = 4

// enter lets the client of c wait.
func (l *lobby) enter(a *Admission, c *engine.Conn) {
	if c.Peer() == nil { // it has ended, in the answer's write
		return
	}
	a.place = &place{l, l.waiting.PushBack(c)}
	if l.waiting.Len() > l.limit {
		l.waiting.Front().Value.(*engine.Conn).Close(LobbyFull)
	}
}

// LeaveLobby gives the client's place in the lobby to others. A protocol's lobby Peer calls it when it is let in or has
// ended; more than once is harmless.
func (a *Admission) LeaveLobby() {
	if a.place != nil {
		a.place.lobby.waiting.Remove(a.place.at)
		a.place = nil
	}
}
