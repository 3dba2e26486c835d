package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/benchd/benchd/api/node"
)

// releasedFile holds, in a sweep's folder, the trials whose runs were let go: a line of JSON each.
const releasedFile = "released.jsonl"

// releasedTrial is a trial as that file has it.
type releasedTrial struct {
	Trial
	Own *Own `json:"own,omitempty"`
}

// KeepReleased adds a trial to what the folder of its sweep remembers, before its run goes: results that are computed later have it
// still. It is on disk when this returns. A trial may be added again, as after a kill.
func KeepReleased(folder string, t Trial) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep what run %s came to in the results of its sweep: %w", t.Run, err)
		}
	}()
	line, err := json.Marshal(releasedTrial{Trial: t, Own: t.Own})
	if err != nil {
		return err
	}
	// Not its parents: a file system that is not mounted is not written beside.
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(filepath.Join(folder, releasedFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, sweepFormat)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("\n" + string(line) + "\n")) // a line that a kill left half written ends here
	return errors.Join(err, f.Sync(), f.Close(), node.SyncFolder(folder))
}

// Released are the trials that the folder of a sweep remembers, each once, but for those that are present: a run that was to go may
// have stayed after all.
func Released(folder string, present func(uid string) bool) ([]Trial, error) {
	f, err := os.Open(filepath.Join(folder, releasedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which runs of the sweep were let go: %w", err)
	}
	defer f.Close()
	var trials []Trial
	seen := map[string]bool{}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		var t releasedTrial
		// A line that is cut off is of a run that did not go then: it was added again.
		if json.Unmarshal(line, &t) == nil && t.UID != "" && !seen[t.UID] && !present(t.UID) {
			seen[t.UID] = true
			t.Trial.Own, t.Trial.Released = t.Own, true
			trials = append(trials, t.Trial)
		}
		if errors.Is(err, io.EOF) {
			return trials, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read which runs of the sweep were let go: %w", err)
		}
	}
}
