// Command bench measures the load engine of benchd beside its peers: what a chunk costs, how true its figures are, how
// punctual it is, how many small requests it sends, and what it keeps in memory. Every figure is a Markdown table with
// its limits. The server is bound to one core and the client to another; nothing but 127.0.0.1 is loaded.
//
//	cd hack/bench && ./install && go run . -benchd ../../bin/benchd -o FILE
//
// When a dependency of the project moved, `go mod tidy` in this folder first.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A bench is what the figures share.
type bench struct {
	self   string // this program
	source string // the folder of the C programs and of go.mod
	dir    string // temporary
	quick  bool

	benchdPath string
	tools      map[string]tool // found so far
}

// shorter is d, or a part of it when only a quick look is wanted.
func (b *bench) shorter(d time.Duration) time.Duration {
	if b.quick {
		return max(d/4, 500*time.Millisecond)
	}
	return d
}

// figures are all of them, in the order of their letters.
func (b *bench) figures() []figure {
	var all []figure
	for _, f := range [][]figure{b.streamingFigures(), b.truthFigures(), b.openFigures(), b.smallFigures(), b.memoryFigures()} {
		all = append(all, f...)
	}
	return all
}

// Options are the flags.
type options struct {
	benchd, source, only, out string
	n                         int
	quick                     bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == simulateCommand {
		exit(serveSimulated(os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.benchd, "benchd", "../../bin/benchd", "the benchd to measure")
	flag.StringVar(&o.source, "source", ".", "the folder hack/bench")
	flag.StringVar(&o.only, "only", "", "letters of the figures wanted, as in a,c; all without")
	flag.StringVar(&o.out, "o", "", "write the tables into this file too")
	flag.IntVar(&o.n, "n", 3, "repetitions; medians are shown")
	flag.BoolVar(&o.quick, "quick", false, "shorter runs: a look, not a measurement")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(measureAll(ctx, o, os.Stdout, os.Stderr))
}

// exit ends the program.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measureAll measures what is wanted and writes the tables to w and, if wanted, into a file.
func measureAll(ctx context.Context, o options, w, progress io.Writer) error {
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("the machine has %d core; the server and the client need one each", runtime.NumCPU())
	}
	if o.n < 1 {
		return fmt.Errorf("-n is %d: want 1 or more", o.n)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{self: self, source: o.source, dir: dir, quick: o.quick, benchdPath: o.benchd, tools: map[string]tool{}}
	wanted, err := choose(b.figures(), o.only)
	if err != nil {
		return err
	}

	var kept bytes.Buffer
	w = io.MultiWriter(w, &kept)
	fmt.Fprintf(w, "# The load engine, measured\n\n%s, %d cores; server on core %d, client on core %d; medians of %d interleaved runs.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), serverCore, clientCore, o.n)
	var t tally
	for _, f := range wanted {
		r := f.run(ctx, o.n, progress)
		f.write(w, r, &t)
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Fprintf(w, "Limits: %d ok, %d missed, %d not measured.\n", t.ok, t.missed, t.unknown)
	if o.out != "" {
		if err := os.WriteFile(filepath.Clean(o.out), kept.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// choose keeps the figures whose letters are in the list.
func choose(all []figure, only string) ([]figure, error) {
	if only == "" {
		return all, nil
	}
	var chosen []figure
	for letter := range strings.SplitSeq(only, ",") {
		before := len(chosen)
		for _, f := range all {
			if f.id == strings.TrimSpace(letter) {
				chosen = append(chosen, f)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("-only: there is no figure %q", letter)
		}
	}
	return chosen, nil
}
