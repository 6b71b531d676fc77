//go:build suite

// Package suite names the program whose version and dependencies go.mod and go.sum fix.
package suite

import _ "github.com/summerwind/h2spec/cmd/h2spec"
