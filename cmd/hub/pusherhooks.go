package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"wshub/session/pusher"
	"wshub/session/webhook"
)

// pusherHook is one of --pusher-webhook: an application, and where its webhooks are posted.
type pusherHook struct {
	app *pusher.App
	url *url.URL
}

// pusherHooks are those of --pusher-webhook. The error repeats nothing of a URL.
func (c *config) pusherHooks() (list []pusherHook, err error) {
	apps, err := c.pusherApps()
	if err != nil || len(c.PusherWebhook) == 0 {
		return nil, err
	}
	for i, text := range c.PusherWebhook {
		id, address := cutHook(text)
		at := slices.IndexFunc(apps, func(app *pusher.App) bool { return app.ID == id })
		if at < 0 {
			return nil, fmt.Errorf("--pusher-webhook: URL %d: want the id of a --pusher-app, =, and a URL, as in 1=https://example.com/hook", i+1)
		}
		u, err := c.hookURL(address)
		if err != nil {
			return nil, fmt.Errorf("--pusher-webhook: URL %d: %w", i+1, err)
		}
		list = append(list, pusherHook{apps[at], u})
	}
	return list, nil
}

// cutHook splits a value of --pusher-webhook.
func cutHook(text string) (id, address string) {
	id, address, _ = strings.Cut(text, "=")
	return id, address
}

// pusherForms are the forms of the webhooks of Pusher's applications, by their ids.
type pusherForms map[string]*pusher.Hook

// endpoints are where list is posted, in the forms f, which gets them.
func (f pusherForms) endpoints(list []pusherHook) (to []webhook.Endpoint) {
	for _, h := range list {
		if f[h.app.ID] == nil {
			f[h.app.ID] = pusher.NewHook(h.app)
		}
		to = append(to, webhook.Endpoint{URL: h.url, Form: f[h.app.ID]})
	}
	return to
}

// validatePusherHooks holds --pusher-webhook to what package webhook takes.
func (c *config) validatePusherHooks() error {
	list, err := c.pusherHooks()
	switch {
	case err != nil || len(list) == 0:
		return err
	case !c.lifecycle().On:
		return errors.New("--pusher-webhook: there is nothing to post without --lifecycle=on, which all instances must have")
	}
	cfg := webhook.Config{Others: pusherForms{}.endpoints(list), AllowPrivate: c.WebhookAllowPrivate}
	if _, err := webhook.New(cfg); err != nil {
		return fmt.Errorf("--pusher-webhook: %w", err)
	}
	return nil
}

// tellsUsers reports of which topics the lifecycle tells who joins and leaves: of those of whose users a webhook tells. nil: of none.
func (c *config) tellsUsers() func(topic string) bool {
	list, err := c.pusherHooks()
	if err != nil || len(list) == 0 { // the settings were validated
		return nil
	}
	return func(topic string) bool {
		return slices.ContainsFunc(list, func(h pusherHook) bool { return h.app.TellsUsers(topic) })
	}
}

// maskHooks is list without passwords and the values of queries.
func maskHooks(list []string) string {
	shown := make([]string, len(list))
	for i, text := range list {
		id, address := cutHook(text)
		if shown[i] = masked; address != "" {
			shown[i] = id + "=" + maskURL(address)
		}
	}
	return strings.Join(shown, ",")
}

// pusherHookSecrets are the secrets in the URLs of --pusher-webhook.
func (c *config) pusherHookSecrets() (secrets []string) {
	for _, text := range c.PusherWebhook {
		_, address := cutHook(text)
		secrets = append(secrets, slices.Concat(urlSecrets(address), querySecrets(address))...)
	}
	return secrets
}
