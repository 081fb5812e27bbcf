package bench

import "io"

func (r *Report) writeHTML(w io.Writer) error { return nil }
