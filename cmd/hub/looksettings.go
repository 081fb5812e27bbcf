package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
)

// settingsShown are a hub's settings as hub check prints them.
type settingsShown struct {
	Node     string         `json:"node"`
	Settings []settingShown `json:"settings"`
	Notes    []string       `json:"notes"`
}

type settingShown struct {
	Name    string `json:"name"`
	Group   string `json:"group"`
	Value   string `json:"value"`
	Default string `json:"default,omitempty"`
	From    string `json:"from"`
	Changed bool   `json:"changed"`
}

// settingsQuestion asks for all settings, or for those that are not the default.
type settingsQuestion struct{ Changed bool }

func (l *looks) addSettings(s *settings) {
	own := s.shown()
	handle(l, "settings", func(_ context.Context, q settingsQuestion) (settingsShown, error) {
		a := own
		if q.Changed {
			a.Settings = slices.DeleteFunc(slices.Clone(own.Settings), func(s settingShown) bool { return !s.Changed })
		}
		return a, nil
	})
	get(l, "/api/settings", func(q *query) settingsQuestion {
		return settingsQuestion{q.oneOf("changed", "true", "false") == "true"}
	}, func(ctx context.Context, nodes []string, q settingsQuestion) (any, error) {
		replies, of, err := askAll[settingsShown](ctx, l, nodes, "settings", q)
		if err != nil {
			return nil, err
		}
		all := struct {
			Nodes []settingsShown `json:"nodes"`
			unheard
		}{[]settingsShown{}, of}
		for _, r := range replies {
			r.answer.Node = r.node
			all.Nodes = append(all.Nodes, r.answer)
		}
		return all, nil
	})
}

// shown are the settings without any secret.
func (s *settings) shown() settingsShown {
	shown := settingsShown{Settings: []settingShown{}, Notes: []string{}}
	clean := newRedactor(s.cfg.secrets()...)
	for _, f := range s.flags {
		if f.Group == nil {
			continue
		}
		value := clean.text(s.value(f))
		shown.Settings = append(shown.Settings, settingShown{
			f.Name, f.Group.Key, value, f.Default, cmp.Or(s.follows[f.Name], s.source[f.Name], "default"), s.source[f.Name] != "" && value != f.Default,
		})
	}
	for _, note := range s.notes() {
		shown.Notes = append(shown.Notes, clean.text(note))
	}
	return shown
}

// ofOneHub are the settings that each hub has for itself.
var ofOneHub = []string{"node", "addr", "port", "control"}

// mark is the same for hubs on which the same settings are set to the same values, those of one hub aside. Secrets are masked before,
// so it says nothing of them.
func (s settingsShown) mark() string {
	sum := sha256.New()
	for _, one := range s.Settings {
		if one.Changed && !slices.Contains(ofOneHub, one.Name) {
			fmt.Fprintf(sum, "%q=%q\n", one.Name, one.Value)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6])
}
