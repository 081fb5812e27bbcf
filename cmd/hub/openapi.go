package main

import (
	_ "embed"
	"time"

	"wshub/engine"
)

//go:embed openapi.yaml
var openAPIDocument []byte

// openAPI is the description of the control port, at the control port. It holds no secret, and pages of any origin may
// read it.
var openAPI = engine.Page{
	Path:   "/openapi.yaml",
	Type:   "application/yaml",
	MaxAge: time.Hour,
	Body:   openAPIDocument,
}
