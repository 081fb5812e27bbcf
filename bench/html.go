package bench

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed report.tmpl
var reportPage string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"figure":  func(s Summary, v float64) string { return format(v, s.Unit) },
	"size":    func(n int64) string { return size(float64(n)) },
	"si":      si,
	"short":   short,
	"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"command": shellCommand,
	"verdict": Trial.verdict,
}).Parse(reportPage))

// page is what the template sees.
type page struct {
	*Report
	Sections []section
	Held     bool
	Headline string // the verdict of all
}

// headline joins the verdicts of all sections.
func (p *page) headline() {
	held := 0
	for _, s := range p.Sections {
		if s.Held {
			held++
		}
	}
	p.Held = held == len(p.Sections)
	if p.Headline = fmt.Sprintf("%d of %d scenarios held", held, len(p.Sections)); len(p.Sections) == 1 {
		p.Headline = p.Sections[0].Verdict
	}
}

// section is one result on the page.
type section struct {
	*Result
	Headline string
	Setting  string // its settings as JSON
	Rows     []Summary
	Runs     []shownRun
}

type shownRun struct {
	*Run
	Number int
	Lines  []string
	Charts []chart
}

// writeHTML writes the report as one page that loads nothing.
func (r *Report) writeHTML(w io.Writer) error {
	p := page{Report: r}
	for _, result := range r.Results {
		s, err := newSection(result)
		if err != nil {
			return err
		}
		p.Sections = append(p.Sections, s)
	}
	p.headline()
	if err := reportTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return nil
}

func newSection(result *Result) (section, error) {
	settings, err := json.MarshalIndent(result.Settings, "", "  ")
	if err != nil {
		return section{}, err
	}
	s := section{Result: result, Headline: headline(result), Setting: string(settings)}
	for _, row := range result.Summary {
		if row.Max != 0 || row.Unit != "" {
			s.Rows = append(s.Rows, row)
		}
	}
	for i, run := range result.Runs {
		s.Runs = append(s.Runs, shownRun{Run: run, Number: i + 1, Lines: run.remarks(), Charts: charts(run)})
	}
	return s, nil
}
