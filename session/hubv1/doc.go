// Package hubv1 is the hub's own protocol, hub.v1.json: one JSON object per text frame, in both directions.
package hubv1
