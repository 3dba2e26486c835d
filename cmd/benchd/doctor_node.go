package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/syntax"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
	"github.com/benchd/benchd/controllers"
	"github.com/benchd/benchd/slurmadapter"
)

const (
	// stepWait is how long the step may wait for a node.
	stepWait = time.Minute
	// stepLimit bounds the step from beginning to end, with its wait.
	stepLimit = 150 * time.Second
	// clockRounds is how often a node's clock is asked; the quickest answer counts.
	clockRounds = 8
)

// stepper runs a short program on a node.
type stepper interface {
	Step(ctx context.Context, spec slurmadapter.StepSpec, talk func(in io.Writer, out io.Reader) error) error
	Estimate(ctx context.Context, spec slurmadapter.JobSpec) (time.Time, error)
}

var _ stepper = (*slurmadapter.Slurm)(nil)

// nodeLook is what one step on a node brought to light.
type nodeLook struct {
	reply probeReply
	// heard says that the node answered at all; visible that its file was seen here, after so long.
	heard, visible bool
	after          time.Duration
	// offset of the node's clock against this machine's, known to within uncertainty; rounds counts the answers.
	offset, uncertainty time.Duration
	rounds              int
}

// lookAtNode runs one step on a node and talks with it. What it made in the work folder is gone afterwards, but for the binary.
func lookAtNode(ctx context.Context, s stepper, a *ask, workdir, network, binary string, patience time.Duration) (*nodeLook, error) {
	nonce := rand.Text()[:10]
	folder := filepath.Join(workdir, ".doctor-"+nonce)
	defer os.RemoveAll(folder)
	script, err := prepareProbe(a, workdir, folder, network, nonce, binary, patience)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnprepared, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	look := &nodeLook{}
	err = s.Step(ctx, slurmadapter.StepSpec{
		Name: "benchd-doctor-" + nonce, Program: []string{"/bin/bash", "-l", script}, Wait: stepWait,
		Partition: a.job.Partition, Account: a.job.Account, QOS: a.job.QOS, Nodelist: firstHost(a.job.Nodelist),
	}, func(in io.Writer, out io.Reader) error { return look.talk(ctx, in, out, folder, nonce, patience) })
	if look.heard && err != nil {
		err = nil // what the node said stands, whatever its end was
	}
	return look, err
}

// errUnprepared says that there was no step, for what it needs could not be written.
var errUnprepared = errors.New("prepare a step on a node")

// prepareProbe writes what the step needs into its folder, and returns the path of its script.
func prepareProbe(a *ask, workdir, folder, network, nonce, binary string, patience time.Duration) (string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	installed, err := controllers.InstallBinary(binary, workdir)
	if err != nil {
		return "", err
	}
	script := filepath.Join(folder, "probe.sh")
	if err := node.WriteSealedBytes(script, []byte(probeScript(a.spec, installed, folder, patience)), 0o700); err != nil {
		return "", err
	}
	request := probeRequest{Nonce: nonce, Container: a.spec.Container, Network: network}
	request.Container.Secrets = nil
	for _, use := range a.ports() {
		request.Ports = append(request.Ports, use.Port)
	}
	if name, err := a.program(); err == nil && name != ownBinary && a.spec.Container.Runtime == api.RuntimeNone {
		request.Program = name
	}
	if gateway := a.spec.Monitoring.Pushgateway; gateway != nil {
		request.Pushgateway = gateway.URL
	}
	return script, node.WriteSealed(probeRequestFile(folder), request)
}

// firstHost is the first node that a run names: the step takes one.
func firstHost(list string) string {
	names, err := slurmadapter.ExpandHostlist(list)
	if err != nil || len(names) == 0 {
		return ""
	}
	return names[0]
}

// probeScript loads what a job's script would, and becomes the probe. A module that cannot be loaded ends it with words.
func probeScript(spec *api.AllocationSpec, binary, folder string, patience time.Duration) string {
	words := make([]string, 0, 4)
	for _, word := range []string{binary, probeVerb, "--patience=" + patience.String(), folder} {
		quoted, err := syntax.Quote(word, syntax.LangBash)
		if err != nil {
			quoted = "''" // NUL, which no path holds
		}
		words = append(words, quoted)
	}
	return "#!/bin/bash\n" + controllers.ModuleLines(spec) + "exec " + strings.Join(words, " ") + "\n"
}

// talk hears the node's answer, measures its clock, and waits until its file is seen here.
func (l *nodeLook) talk(ctx context.Context, in io.Writer, out io.Reader, folder, nonce string, patience time.Duration) error {
	lines := bufio.NewReader(out)
	line, err := probeLine(lines)
	if err != nil {
		return fmt.Errorf("the node said nothing: %w", err)
	}
	answered := time.Now()
	if err := json.Unmarshal([]byte(line), &l.reply); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	l.heard = true
	for i := range clockRounds {
		if err := l.round(in, lines, strconv.Itoa(i)); err != nil {
			break // its clock is left out
		}
	}
	if l.reply.Folder == "" {
		l.visible = awaitReply(ctx, folder, nonce, patience)
		l.after = time.Since(answered)
	}
	_, err = fmt.Fprintln(in, probeBye)
	return errors.Join(err, drain(lines))
}

// drain reads on until the step has ended.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// round asks the node for its time once. Half of how long the answer took is what is not known of it.
func (l *nodeLook) round(in io.Writer, lines *bufio.Reader, number string) error {
	asked := time.Now()
	if _, err := fmt.Fprintln(in, probePing, number); err != nil {
		return err
	}
	line, err := probeLine(lines)
	if err != nil {
		return err
	}
	took := time.Since(asked)
	var told string
	var nanoseconds int64
	if _, err := fmt.Sscanf(line, "pong %s %d", &told, &nanoseconds); err != nil || told != number {
		return fmt.Errorf("%q is no answer to ping %s", line, number)
	}
	if l.rounds++; l.rounds == 1 || took/2 < l.uncertainty {
		l.offset, l.uncertainty = time.Unix(0, nanoseconds).Sub(asked.Round(0).Add(took/2)), took/2
	}
	return nil
}

// probeLine reads the next line that the probe itself printed.
func probeLine(lines *bufio.Reader) (string, error) {
	for {
		line, err := lines.ReadString('\n')
		if words, is := strings.CutPrefix(strings.TrimRight(line, "\r\n"), probePrefix); is {
			return words, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// awaitReply waits until the file that the node wrote is seen here.
func awaitReply(ctx context.Context, folder, nonce string, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var reply probeReply
		if err := node.ReadJSON(probeReplyFile(folder), &reply); err == nil && reply.Nonce == nonce {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}
