package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"wshub/session/webhook"
)

// webhookURLs are the endpoints of --webhook. The error repeats nothing of a URL.
func (c *config) webhookURLs() ([]*url.URL, error) {
	var list []*url.URL
	for i, text := range c.Webhook {
		u, err := c.hookURL(text)
		if err != nil {
			return nil, fmt.Errorf("--webhook: URL %d: %w", i+1, err)
		}
		list = append(list, u)
	}
	return list, nil
}

// hookURL reads the URL of an endpoint. The error repeats nothing of it.
func (c *config) hookURL(text string) (*url.URL, error) {
	u, err := webhook.ParseURL(text)
	switch {
	case isTorn(text) && !strings.Contains(text, "#"):
		err = errTorn
	case err == nil && u.Scheme == "http" && !c.WebhookAllowPrivate:
		err = errors.New("http leads to private addresses only, which takes --webhook-allow-private: want https")
	}
	return u, err
}

// webhookSecrets are those of --webhook-secret. The error repeats nothing of one.
func (c *config) webhookSecrets() ([]webhook.Secret, error) {
	secrets, err := webhook.ParseSecrets(c.WebhookSecret)
	if err != nil {
		return nil, fmt.Errorf("--webhook-secret: %w", err)
	}
	return secrets, nil
}

// validateWebhooks holds the settings to what package webhook takes.
func (c *config) validateWebhooks() error {
	for _, name := range c.WebhookEvents {
		if !slices.Contains(webhook.Events, name) {
			return fmt.Errorf("--webhook-events %q: there are %s", name, strings.Join(webhook.Events, ", "))
		}
	}
	_, wrongURL := c.webhookURLs()
	_, wrongSecret := c.webhookSecrets()
	if err := errors.Join(wrongURL, wrongSecret); err != nil || len(c.Webhook) == 0 {
		return err
	}
	switch {
	case len(c.WebhookSecret) == 0:
		return fmt.Errorf("--webhook: it takes a --webhook-secret, which endpoints verify requests with; this makes one: echo %s$(openssl rand -base64 32)", webhook.SecretPrefix)
	case !c.lifecycle().On:
		return errors.New("--webhook: there is nothing to post without --lifecycle=on, which all instances must have")
	}
	cfg, err := c.webhookConfig()
	if err != nil {
		return err
	}
	if _, err := webhook.New(cfg); err != nil {
		return fmt.Errorf("--webhook: %w", err)
	}
	return nil
}

// webhookConfig is what package webhook gets, without the webhooks of Pusher's applications.
func (c *config) webhookConfig() (webhook.Config, error) {
	urls, err1 := c.webhookURLs()
	secrets, err2 := c.webhookSecrets()
	return webhook.Config{URLs: urls, Secrets: secrets, Retry: c.WebhookRetry, Events: c.WebhookEvents, AllowPrivate: c.WebhookAllowPrivate}, errors.Join(err1, err2)
}

// posting are the webhooks that c asks for. onTry is told how long each request took.
func (c *config) posting(log zerolog.Logger, onTry func(time.Duration)) (posting, error) {
	cfg, err1 := c.webhookConfig()
	hooks, err2 := c.pusherHooks()
	if err := errors.Join(err1, err2); err != nil || len(cfg.URLs)+len(hooks) == 0 {
		return posting{}, err
	}
	p := posting{forms: pusherForms{}}
	cfg.Others = p.forms.endpoints(hooks)
	cfg.Log, cfg.OnTry = log.With().Str("part", "webhook").Logger(), onTry
	var err error
	if p.Webhooks, err = webhook.New(cfg); err != nil { // the settings were validated
		return posting{}, fmt.Errorf("webhooks: %w", err)
	}
	return p, nil
}

// maskURLs is list without passwords and the values of queries.
func maskURLs(list []string) string {
	shown := make([]string, len(list))
	for i, raw := range list {
		shown[i] = maskURL(raw)
	}
	return strings.Join(shown, ",")
}

// webhookURLSecrets are the secrets in the URLs of --webhook.
func (c *config) webhookURLSecrets() (secrets []string) {
	for _, raw := range c.Webhook {
		secrets = append(secrets, slices.Concat(urlSecrets(raw), querySecrets(raw))...)
	}
	return secrets
}

// posting is what the hub needs of its webhooks; the zero one has none.
type posting struct {
	*webhook.Webhooks
	forms pusherForms
}

// stats is what happened so far.
func (p posting) stats() webhook.Stats {
	if p.Webhooks == nil {
		return webhook.Stats{}
	}
	return p.Webhooks.Stats()
}

// use has requests signed with c's secrets. Webhooks of an application that c has not are posted on as before.
func (p posting) use(c *config) error {
	secrets, err1 := c.webhookSecrets()
	apps, err2 := c.pusherApps()
	if err := errors.Join(err1, err2); err != nil || p.Webhooks == nil {
		return err
	}
	p.UseSecrets(secrets)
	for _, app := range apps {
		if form := p.forms[app.ID]; form != nil {
			form.UseSecret(app.Secret)
		}
	}
	return nil
}

// run posts what source hands over, until ctx ends.
func (p posting) run(source webhook.Source) runner {
	return func(ctx context.Context) error {
		if p.Webhooks == nil {
			<-ctx.Done()
			return nil
		}
		return p.Run(ctx, source)
	}
}
