package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	pb "github.com/centrifugal/protocol"

	"wshub/pubsub/redistest/drills"
	"wshub/session/centrifugo"
)

// Through each load balancer the replies of Centrifugo's streams come at once, and so do the commands of their clients.
func TestLoadBalancersHoldNoStreamBack(t *testing.T) {
	drills.Programs(t)
	path := buildHub(t)
	behindEach(t, func(t *testing.T, net *hubNet) {
		net.startHub(path, 1)
		net.balance(nil)
		net.awaitHubs(1)
		at := "http://" + net.host(9) + ":" + net.public
		const connect = `{"id":1,"connect":{}}`
		for way, open := range map[string]func() (*http.Response, error){
			"sse": func() (*http.Response, error) {
				return http.Get(at + centrifugo.SSEPath + "?cf_connect=" + url.QueryEscape(connect))
			},
			"http_stream": func() (*http.Response, error) {
				return http.Post(at+centrifugo.HTTPStreamPath, "application/json", strings.NewReader(connect))
			},
		} {
			// The balancer may still try the hubs that are not there, and Caddy now and then drops a connection that has just begun.
			eventually(t, func() error {
				res, err := open()
				if err != nil {
					return err
				}
				t.Cleanup(func() { _ = res.Body.Close() })
				if res.StatusCode != 200 {
					return fmt.Errorf("%s: %s", way, res.Status)
				}
				in := bufio.NewScanner(res.Body)
				r, err := nextReply(in)
				if err != nil || r.Connect == nil {
					return fmt.Errorf("%s: it is not connected: %+v, %w", way, r, err)
				}
				for id := range 3 {
					body, _ := json.Marshal(map[string]string{"session": r.Connect.Session, "node": r.Connect.Node, "data": fmt.Sprintf(`{"id":%d,"rpc":{}}`, id+2)})
					if status, answer, _ := ask(t, "POST", at+centrifugo.EmulationPath, string(body)); status != 204 {
						return fmt.Errorf("%s: a command is answered %d %s", way, status, answer)
					}
					if r, err := nextReply(in); err != nil || r.Id != uint32(id+2) || r.Error == nil || r.Error.Code != 108 {
						return fmt.Errorf("%s: %+v, %w", way, r, err)
					}
				}
				return nil
			})
		}
	})
}

// nextReply reads a reply of either kind of stream.
func nextReply(in *bufio.Scanner) (*pb.Reply, error) {
	for in.Scan() {
		line := strings.TrimPrefix(in.Text(), "data: ")
		if line == "" {
			continue
		}
		if r, _ := pb.NewJSONReplyDecoder([]byte(line)).Decode(); r != nil {
			return r, nil
		}
		return nil, fmt.Errorf("no reply: %q", line)
	}
	return nil, cmp.Or(in.Err(), io.ErrUnexpectedEOF)
}
