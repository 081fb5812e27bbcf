package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"wshub/pubsub"
	"wshub/session"
)

// broadcastAPI is POST /api/broadcast: one event for several topics, {"topics","data"}
// and what else an event may have. The answer is an array, as
// for an array of events to /api/publish, and as there one that is not valid refuses them all.
type broadcastAPI struct{ publishAPI }

func (a broadcastAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal := wantJSON(r); refusal != nil {
		refusal.write(w)
		return
	}
	_, leave, refusal := a.enter(r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	defer leave()
	batch, refusal := a.readBroadcast(w, r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	a.publishAll(w, r, batch, true)
}

// readBroadcast takes the event from r's body, once for each topic.
func (a broadcastAPI) readBroadcast(w http.ResponseWriter, r *http.Request) ([]pubsub.Publication, *apiError) {
	body, refusal := readBody(w, r, a.maxBody())
	if refusal != nil {
		return nil, refusal
	}
	var in struct {
		Topics []string          `json:"topics"`
		Data   json.RawMessage   `json:"data"`
		Key    string            `json:"key"`
		Name   string            `json:"name"`
		Except string            `json:"except"`
		Tags   map[string]string `json:"tags"`
	}
	if refusal := decode(body, &in, `{"topics":[…],"data":…,"key":…,"name":…,"except":…,"tags":{…}}`); refusal != nil {
		return nil, refusal
	}
	if n := len(in.Topics); n == 0 || n > batchEvents {
		return nil, badRequest(session.BadRequest, fmt.Sprintf("want 1 to %d topics, not %d", batchEvents, n))
	}
	ev := published{Data: in.Data, Attributes: pubsub.Attributes{Name: in.Name, Except: in.Except, Tags: in.Tags}}
	var attributes *pubsub.Attributes
	if in.Name != "" || in.Except != "" || len(in.Tags) > 0 {
		attributes = &ev.Attributes
	}
	batch := make([]pubsub.Publication, len(in.Topics))
	for i, topic := range in.Topics {
		ev.Topic = topic
		if refusal := a.validate(ev); refusal != nil {
			refusal.message = fmt.Sprintf("topic %d: %s; nothing was published", i+1, refusal.message)
			return nil, refusal
		}
		batch[i] = pubsub.Publication{Topic: topic, Data: in.Data, Key: in.Key, Caller: "api", Attributes: attributes}
	}
	return batch, nil
}
