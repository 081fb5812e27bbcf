// Package pusher speaks protocol 7 of Pusher Channels, so that pusher-js, Laravel Echo and the other clients work unchanged. Each
// application (App) is a Protocol of its own. Its channels are topics behind a wall, which nobody else can name, or with
// App.Shared the hub's topics.
//
//	Judge      which version of the protocol, or by which code the client is turned away
//	message    one frame of a client
//	subscribe  who may: by the signature of the application's backend (sign), or anybody; then the answer, and what is cached
//	signin     the user of a connection, and whom it watches
//	event      how an event of Pusher stands in a topic
//	format     events, members and counts as frames
//	codes      the one table of close codes
//	hook       webhooks: entries of the lifecycle as Pusher's backends know them
//
// A member of a presence channel is a member of its topic, under the name that the signed channel_data says (session.Persona).
// Each channel is a topic with presence, so that channels can be counted over all hubs; members are told of presence channels
// only. Package main has the HTTP API; Sign, Verify and the names of channels are for it, too.
package pusher
