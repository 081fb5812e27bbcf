package bench

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"wshub/bench/fleet"
)

func (c *Common) speaksPusher() bool { return c.Protocol == "pusher" }

// app is the Pusher application, the zero one for none. Its errors do not repeat the text, which holds a secret.
func (c *Common) app() (app fleet.App, err error) {
	if !c.speaksPusher() {
		return app, nil
	}
	parts := strings.SplitN(c.PusherApp, ":", 3)
	switch {
	case c.PusherApp == "" && c.URL == "":
		return app, usagef("--protocol=pusher: want --pusher-app, or --url with the path /app/KEY")
	case c.PusherApp == "":
		return app, nil
	case len(parts) < 3 || !topicName.MatchString(parts[0]) || !topicName.MatchString(parts[1]) || parts[2] == "":
		return app, usagef("--pusher-app: want id:key:secret")
	}
	return fleet.App{ID: parts[0], Key: parts[1], Secret: parts[2]}, nil
}

// pusherPublisher publishes by Pusher's HTTP API, one request after the other.
type pusherPublisher struct {
	control string
	app     fleet.App
	client  *http.Client
}

// pusherBatch bounds the events of one request, by Pusher's documentation.
const pusherBatch = 10

func newPusherPublisher(control string, app fleet.App) *pusherPublisher {
	return &pusherPublisher{
		control: strings.TrimSuffix(control, "/"), app: app,
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}},
	}
}

func (p *pusherPublisher) publish(ctx context.Context, batch []outgoing) error {
	var part []*outgoing
	for i := range batch {
		if o := &batch[i]; !o.done {
			part = append(part, o)
		}
		if len(part) == pusherBatch || len(part) > 0 && i == len(batch)-1 {
			if err := p.post(ctx, part); err != nil {
				return pusherHint(err)
			}
			part = part[:0]
		}
	}
	return nil
}

// post sends part as one request, and marks it as accepted.
func (p *pusherPublisher) post(ctx context.Context, part []*outgoing) error {
	body := []byte(`{"batch":[`)
	for i, o := range part {
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"channel":%q,"name":"hubbench","data":%q}`, o.name, o.data) // probes have nothing that Go and JSON quote differently
	}
	body = append(body, `]}`...)
	path := "/apps/" + p.app.ID + "/batch_events"
	address := p.control + path + "?" + signedQuery(p.app, http.MethodPost, path, body, time.Now())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return answerError{resp.StatusCode, fmt.Sprintf("POST %s: %s: %.200s", p.control+path, resp.Status, bytes.TrimSpace(text))}
	}
	for _, o := range part {
		o.done = true
	}
	return nil
}

// signedQuery is the query of a request of Pusher's HTTP API: its parameters in order, and their signature.
func signedQuery(app fleet.App, method, path string, body []byte, now time.Time) string {
	sum := md5.Sum(body)
	query := url.Values{
		"auth_key": {app.Key}, "auth_timestamp": {strconv.FormatInt(now.Unix(), 10)}, "auth_version": {"1.0"},
		"body_md5": {hex.EncodeToString(sum[:])},
	}.Encode() // in the order of names
	return query + "&auth_signature=" + app.Sign(method+"\n"+path+"\n"+query)
}

func (p *pusherPublisher) Close() error {
	p.client.CloseIdleConnections()
	return nil
}
