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
		u, err := webhook.ParseURL(text)
		switch {
		case isTorn(text) && !strings.Contains(text, "#"):
			err = errTorn
		case err == nil && u.Scheme == "http" && !c.WebhookAllowPrivate:
			err = errors.New("http leads to private addresses only, which takes --webhook-allow-private: want https")
		}
		if err != nil {
			return nil, fmt.Errorf("--webhook: URL %d: %w", i+1, err)
		}
		list = append(list, u)
	}
	return list, nil
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
	_, err := c.webhooks(zerolog.Nop(), nil)
	return err
}

// webhookConfig is what package webhook gets.
func (c *config) webhookConfig() (webhook.Config, error) {
	urls, err1 := c.webhookURLs()
	secrets, err2 := c.webhookSecrets()
	return webhook.Config{URLs: urls, Secrets: secrets, Retry: c.WebhookRetry, Events: c.WebhookEvents, AllowPrivate: c.WebhookAllowPrivate}, errors.Join(err1, err2)
}

// webhooks are those that c asks for, nil for none. onTry is told how long each request took.
func (c *config) webhooks(log zerolog.Logger, onTry func(time.Duration)) (*webhook.Webhooks, error) {
	if len(c.Webhook) == 0 {
		return nil, nil
	}
	cfg, err := c.webhookConfig()
	if err != nil {
		return nil, err
	}
	cfg.Log, cfg.OnTry = log.With().Str("part", "webhook").Logger(), onTry
	w, err := webhook.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("--webhook: %w", err)
	}
	return w, nil
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
type posting struct{ *webhook.Webhooks }

// stats is what happened so far.
func (p posting) stats() webhook.Stats {
	if p.Webhooks == nil {
		return webhook.Stats{}
	}
	return p.Webhooks.Stats()
}

// use has requests signed with c's secrets.
func (p posting) use(c *config) error {
	secrets, err := c.webhookSecrets()
	if err == nil && p.Webhooks != nil {
		p.UseSecrets(secrets)
	}
	return err
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
