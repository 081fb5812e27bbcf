// Package centrifugo speaks Centrifugo's client protocol, in JSON and in Protobuf, so that its SDKs work unchanged. A
// channel is a topic.
//
//	Judge      which encoding
//	stream     server-sent events and HTTP streaming: replies by a stream, and connect with the request that opens it
//	emulation  the commands of streams' clients, by requests that may come to any hub
//	lobby      the connection's Peer until connect comes, with the client's token
//	connect    opens the session, follows the user's own topic and the token's channels as one, then answers
//	Message    one frame, several commands, in their order
//	codes      the one table of errors and close codes
//
// Missed events follow the answer to subscribe as pushes, paced like all replays: the answer's offset is that of the
// request, and each publication advances it. Where events are lost, a subscription ends with code 2500, and the SDK
// subscribes again.
package centrifugo
