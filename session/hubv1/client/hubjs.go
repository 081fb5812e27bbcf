// Package hubjs has hub.js, the client for hub.v1 in browsers and Node, as the hub serves it.
package hubjs

import _ "embed"

// JS is the ES module.
//
//go:embed hub.js
var JS []byte
