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

// servePusher registers Pusher's protocol for each application, and for clients of none.
func (c *config) servePusher(hub *session.Hub) error {
	apps, err := c.pusherApps()
	if err != nil || len(apps) == 0 {
		return err
	}
	errs := []error{hub.Serve(pusher.Path, pusher.Unknown())}
	for _, app := range apps {
		errs = append(errs, hub.Serve(pusher.Path+app.Key, pusher.New(app, c.PusherSubscriptionCount)))
	}
	return errors.Join(errs...)
}
