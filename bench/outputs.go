package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// outputs are the files that the settings ask for. They are opened before anything runs, so that a bad path costs
// nothing, and keep what they hold until there is a report.
type outputs struct {
	json, html io.Writer // nil: not asked for
	files      []*os.File
}

// openOutputs opens the files of c. "-" is stdout.
func openOutputs(c *Common, stdout io.Writer) (o *outputs, err error) {
	if c.JSON != "" && c.JSON == c.HTML {
		return nil, usagef("--json and --html: both name %q", c.JSON)
	}
	o = &outputs{}
	if o.json, err = o.open("--json", c.JSON, stdout); err == nil {
		o.html, err = o.open("--html", c.HTML, stdout)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *outputs) open(flag, path string, stdout io.Writer) (io.Writer, error) {
	switch path {
	case "":
		return nil, nil
	case "-":
		return stdout, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	o.files = append(o.files, f)
	return f, nil
}

// write leaves the report in each of them.
func (o *outputs) write(r *Report) error {
	var errs []error
	for _, one := range []struct {
		to    io.Writer
		write func(io.Writer) error
	}{{o.json, r.writeJSON}, {o.html, r.writeHTML}} {
		if f, ok := one.to.(*os.File); ok && slices.Contains(o.files, f) {
			if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
				errs = append(errs, f.Truncate(0))
			}
		}
		if one.to != nil {
			errs = append(errs, one.write(one.to))
		}
	}
	return errors.Join(errs...)
}

func (o *outputs) close() error {
	var errs []error
	for _, f := range o.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
