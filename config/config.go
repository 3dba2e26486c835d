// Package config holds the samples: files that users copy and change. They are part of the binary, so that `benchd init` writes
// those that fit this version.
package config

import "embed"

// Samples are the files of the folder samples.
//
//go:embed samples/*.yaml samples/README.md
var Samples embed.FS

// Folder is where they are in Samples.
const Folder = "samples"
