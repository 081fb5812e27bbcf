// Package sse is plain mode over HTTP: a client that asks for text/event-stream gets its topics' events as server-sent events
// (HTML, 9.2), and publishes by POST at the same path.
//
// An event's id is its position, so that a browser that comes back tells by Last-Event-ID where it left off. A session that
// follows one topic shares its frames with all others. Of one that follows several, an id carries the positions of all:
// it is made for each session, and stands behind the shared part of the frame.
package sse
