package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wshub/pubsub"
	"wshub/session/hubv1"
)

// v1Messages are the pointers of asyncapi.yaml's messages by their type: those of clients, and those of the hub.
var v1Messages = sync.OnceValues(func() (said, heard map[string]string) {
	s := theAsyncAPI()
	said, heard = map[string]string{}, map[string]string{}
	take := func(to map[string]string, list any) {
		refs, _ := list.([]any)
		for _, ref := range refs {
			_, where := s.at(strings.TrimPrefix(ref.(map[string]any)["$ref"].(string), "#"))
			kind, _ := s.object(where + "/payload/properties/type")["const"].(string)
			to[kind] = where
		}
	}
	for name := range s.object("/operations") {
		op := s.object("/operations/" + name)
		if op["action"] == "receive" {
			take(said, op["messages"])
			take(heard, s.object("/operations/" + name + "/reply")["messages"])
		} else {
			take(heard, op["messages"])
		}
	}
	return said, heard
})

// holdToAsyncAPI fails if the hub's message is not as asyncapi.yaml says.
func holdToAsyncAPI(t *testing.T, message []byte) {
	t.Helper()
	_, heard := v1Messages()
	if err := fitsOneOf(heard, message); err != nil {
		t.Errorf("the hub says more than session/hubv1/asyncapi.yaml: %v", err)
	}
}

// fitsOneOf says why message is none of those at pointers.
func fitsOneOf(pointers map[string]string, message []byte) error {
	var m struct{ Type string }
	_ = json.Unmarshal(message, &m) // check says it
	if pointers[m.Type] == "" {
		return fmt.Errorf("no message of type %q: %.200s", m.Type, message)
	}
	return theAsyncAPI().check(pointers[m.Type]+"/payload", message)
}

func TestExamplesOfMessagesFitTheirSchemas(t *testing.T) {
	s := theAsyncAPI()
	for name := range s.object("/components/messages") {
		where := "/components/messages/" + name
		examples, _ := s.object(where)["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range examples {
			text, err := json.Marshal(example.(map[string]any)["payload"])
			if err == nil {
				err = s.check(where+"/payload", text)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// TestRealMessagesAreAsTheDocumentSays has a client say and hear all that there is, and every member of it.
func TestRealMessagesAreAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	h := startClosed(t, "--history=news*=100,1h", "--presence=room*", "--presence-grace=100ms")
	h.awaitReady(t)
	said, heard := v1Messages()
	members := map[string]bool{} // pointers of messages and members that came up
	var all []*client
	say := func(c *client, text string) {
		t.Helper()
		if err := fitsOneOf(said, []byte(text)); err != nil {
			t.Error(err)
		}
		noteMembers(members, said, text)
		c.say(text)
	}
	ask := func(c *client, text, answer string) string {
		t.Helper()
		say(c, text)
		return c.want(answer)
	}
	join := func() (c *client, ticket string) {
		c = h.v1(h.mint("--sub=42", "--ttl=1h", "--subscribe=news,room", "--publish=news", "--sees=room"))
		all = append(all, c)
		return c, h.remember(member(t, c.want(`{"type":"welcome"`), "token"))
	}

	c, ticket := join()
	ask(c, `{"type":"subscribe","id":1,"topic":"news"}`, `{"type":"subscribed","id":1`)
	ask(c, `{"type":"publish","id":2,"topic":"news","data":1,"key":"k"}`, `{"type":"ok","id":2,"position"`)
	ask(c, `{"type":"publish","id":3,"topic":"news","data":2}`, `{"type":"ok","id":3,"position"`)
	ask(c, `{"type":"unsubscribe","id":"four","topic":"news"}`, `{"type":"ok","id":"four"`)
	ask(c, `{"type":"subscribe","id":5,"topic":"news","since":"0"}`, `{"type":"subscribed","id":5`)
	c.wantEvent("news", "2")
	ask(c, `{"type":"history","id":6,"topic":"news","since":"0","limit":1}`, `{"type":"history","id":6`)
	ask(c, `{"type":"ping","id":7}`, `{"type":"pong","id":7`)
	ask(c, fmt.Sprintf(`{"type":"auth","id":8,"token":%q}`, h.mint("--sub=42", "--ttl=2h", "--subscribe=news")), `{"type":"ok","id":8,"expires_in"`)
	ask(c, `{"type":"subscribe","id":9,"topic":"secret"}`, `{"type":"error","id":9,"code":"forbidden"`)
	askAPI(t, h, "unsubscribe", `{"user":"42","topic":"news"}`)
	c.want(`{"type":"error","code":"unsubscribed"`)
	askAPI(t, h, "refresh", fmt.Sprintf(`{"user":"42","expire_at":%d}`, time.Now().Add(time.Hour).Unix()))
	c.want(`{"type":"expires","expires_in"`)

	room := h.v1(h.mint("--sub=42", "--ttl=1h", "--subscribe=room", "--sees=room", `--info={"name":"Ann"}`))
	other := h.v1(h.mint("--sub=7", "--ttl=1h", "--subscribe=room", `--info={"name":"Bob"}`))
	all = append(all, room, other)
	ask(room, `{"type":"subscribe","id":20,"topic":"room","presence":true}`, `{"type":"subscribed","id":20,"topic":"room","clients":1`)
	ask(other, `{"type":"subscribe","id":21,"topic":"room"}`, `{"type":"subscribed","id":21`)
	room.want(`{"type":"joined"`)
	page := ask(room, `{"type":"presence","id":22,"topic":"room","limit":1}`, `{"type":"presence","id":22`)
	ask(room, fmt.Sprintf(`{"type":"presence","id":23,"topic":"room","after":%q}`, member(t, page, "next")), `{"type":"presence","id":23`)
	ask(room, `{"type":"presence_stats","id":24,"topic":"room"}`, `{"type":"presence_stats","id":24`)
	ask(other, `{"type":"unsubscribe","id":25,"topic":"room"}`, `{"type":"ok","id":25`)
	room.want(`{"type":"left"`)
	ask(room, fmt.Sprintf(`{"type":"auth","id":26,"token":%q}`, h.mint("--sub=42", "--ttl=2h", "--subscribe=room")), `{"type":"ok","id":26,"expires_in"`)
	room.want(`{"type":"error","code":"forbidden"`)
	ask(room, `{"type":"unsubscribe","id":27,"topic":"room"}`, `{"type":"ok","id":27`)

	again, _ := join()
	ask(again, fmt.Sprintf(`{"type":"resume","id":10,"token":%q,"positions":{"news":"0","user:42":null,"secret":"","room":""},"presence":["room"]}`, ticket), `{"type":"resumed","id":10`)
	again.want(`{"type":"presence","topic":"room","clients":1`)
	if code := c.wantEnd(); code != 4009 {
		t.Errorf("the earlier connection is closed with %d", code)
	}
	h.stop <- syscall.SIGTERM
	again.want(`{"type":"goodbye"`)

	for _, c := range all {
		c.mu.Lock()
		for _, text := range c.seen { // dialWith has held them to the document
			noteMembers(members, heard, text)
		}
		c.mu.Unlock()
	}
	// It would take a Redis that loses events to hear of a gap.
	gap := hubv1.GapFrame("news", pubsub.Position{Epoch: 1, ID: pubsub.ID{Ms: 1}})[2:]
	holdToAsyncAPI(t, gap)
	noteMembers(members, heard, string(gap))
	for _, pointers := range []map[string]string{said, heard} {
		for _, where := range pointers {
			for name := range theAsyncAPI().object(where + "/payload/properties") {
				if !members[where+" "+name] {
					t.Errorf("%s: %s has the member %q, which no real message has", asyncAPIPath, where, name)
				}
			}
		}
	}
}

// noteMembers notes which members a message has.
func noteMembers(members map[string]bool, pointers map[string]string, text string) {
	var m map[string]json.RawMessage
	_ = json.Unmarshal([]byte(text), &m) // it is held to the document
	var kind string
	_ = json.Unmarshal(m["type"], &kind)
	for name := range m {
		members[pointers[kind]+" "+name] = true
	}
}

// member is a text of a message.
func member(t *testing.T, message, name string) (text string) {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(message), &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m[name], &text); err != nil {
		t.Fatalf("%s has no %s: %v", message, name, err)
	}
	return text
}

// askAPI has a closed hub do something.
func askAPI(t *testing.T, h *closedHub, what, body string) {
	t.Helper()
	if status, answer, _ := ask(t, "POST", h.control+"/api/"+what, body, withKey...); status != 200 {
		t.Errorf("%s is answered %d %s", what, status, answer)
	}
}
