package bench

import (
	"context"
	"errors"
)

// connectScenario: how fast clients come in.
type connectScenario struct {
	Common  `embed:"" json:"common"`
	Clients int `help:"Clients." default:"10000" json:"clients"`
}

func (s *connectScenario) common() *Common { return &s.Common }
func (s *connectScenario) validate() error { return validateClients(s.Clients) }

func (s *connectScenario) measure(ctx context.Context, run *Run, p progress) (err error) {
	t, err := openTrial(ctx, &s.Common, s.broadcastTopology(), s.Clients, 0, run, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	defer t.finish()
	before := t.last
	err = t.connect(ctx, 0, s.Clients, false)
	run.Client.Busy = busiest(t.last.report.Use, before.report.Use)
	run.Client.Limit = limitOf(run.Client, &LoadPart{})
	return err
}
