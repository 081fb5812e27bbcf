package main

import (
	"errors"
	"fmt"
	"slices"

	"wshub/session"
	"wshub/session/pusher"
)

// pusherApps are the applications of --pusher-app.
func (c *config) pusherApps() (apps []*pusher.App, err error) {
	for i, text := range c.PusherApp {
		app, err := pusher.ParseApp(text)
		if err != nil {
			return nil, fmt.Errorf("--pusher-app: application %d: %w", i+1, err)
		}
		app.Shared = slices.Contains(c.PusherShare, app.ID)
		apps = append(apps, &app)
	}
	return apps, nil
}

// pusherSecrets are the secrets of the applications. Keys are no secrets: web pages show them.
func (c *config) pusherSecrets() (secrets []string) {
	for _, text := range c.PusherApp {
		if app, err := pusher.ParseApp(text); err == nil {
			secrets = append(secrets, app.Secret)
		} else {
			secrets = append(secrets, text)
		}
	}
	return secrets
}

func (c *config) validatePusher() error {
	apps, err := c.pusherApps()
	if err != nil {
		return err
	}
	if len(apps) > pusher.MaxApps {
		return fmt.Errorf("--pusher-app: %d applications, at most %d are allowed", len(apps), pusher.MaxApps)
	}
	ids, keys := make(map[string]bool), make(map[string]bool)
	for _, app := range apps {
		if ids[app.ID] || keys[app.Key] {
			return fmt.Errorf("--pusher-app: two applications have the id %q or the key %q", app.ID, app.Key)
		}
		ids[app.ID], keys[app.Key] = true, true
	}
	for _, id := range c.PusherShare {
		if !ids[id] {
			return fmt.Errorf("--pusher-share: no --pusher-app has the id %q", id)
		}
	}
	for _, path := range c.paths() {
		if path == pusher.Path {
			continue
		}
		for _, app := range apps {
			if path == pusher.Path+app.Key {
				return fmt.Errorf("--pusher-app: its clients open %s, which is the path of another protocol", path)
			}
		}
	}
	return nil
}

// pusherInForce is what judges signatures of Pusher's applications: the protocol of each, by its id, and the API.
type pusherInForce struct {
	protocols map[string]pusher.Protocol
	api       *pusherAPI // nil without applications
}

// servePusher registers Pusher's protocol for each application, and for clients of none.
func (c *config) servePusher(hub *session.Hub) (served pusherInForce, err error) {
	apps, err := c.pusherApps()
	if err != nil || len(apps) == 0 {
		return served, err
	}
	served.protocols = make(map[string]pusher.Protocol)
	errs := []error{hub.Serve(pusher.Path, pusher.Unknown())}
	for _, app := range apps {
		served.protocols[app.ID] = pusher.New(app, c.PusherSubscriptionCount)
		errs = append(errs, hub.Serve(pusher.Path+app.Key, served.protocols[app.ID]))
	}
	return served, errors.Join(errs...)
}

// use has signatures judged by c's secrets from now on. c has the same applications. Of these nothing else is taken: their topics stay.
func (p pusherInForce) use(c *config) error {
	apps, err := c.pusherApps()
	if err != nil || p.api == nil {
		return err
	}
	for _, app := range apps {
		p.protocols[app.ID].UseSecret(app.Secret)
	}
	p.api.useSecrets(apps)
	return nil
}

// sameApps is an error where next has other applications than c, or other keys of them: their clients' URLs and topics were made for these.
func (c *config) sameApps(next *config) error {
	before, err1 := c.pusherApps()
	now, err2 := next.pusherApps()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	names := func(apps []*pusher.App) (list []string) {
		for _, app := range apps {
			list = append(list, app.ID+":"+app.Key)
		}
		slices.Sort(list)
		return list
	}
	if slices.Equal(names(before), names(now)) {
		return nil
	}
	return errors.New("--pusher-app: another application, or another id or key of one, takes a restart; only secrets are read again")
}
