package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/benchd/benchd/home"
	"github.com/benchd/benchd/recipe"
	"github.com/benchd/benchd/site"
)

// checkPlane looks at who has the home, and whether it answers.
func checkPlane(ctx context.Context, dir home.Dir, ready func(context.Context) error) finding {
	const check = "control plane"
	owner, err := dir.Owner()
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && owner.PID == 0:
		return warning(check, "`benchd serve --detach` starts one; `benchd apply` and `benchd run` do it by themselves", "none runs for %s", dir)
	case err != nil:
		return problem(check, "when you know that no control plane has the home: `benchd serve --take-over`", "%v", err)
	case !owner.Here():
		return problem(check, fmt.Sprintf("run benchd on %s; when that control plane is known to be gone, `benchd serve --take-over` here", owner.Host),
			"process %d on host %s has %s since %s; nobody here can tell whether it lives", owner.PID, owner.Host, dir, owner.Since.Format(time.DateTime))
	case !owner.Alive():
		return warning(check, "`benchd serve --detach` starts one, which picks everything up", "the last one of %s (process %d) has ended without a word", dir, owner.PID)
	}
	if err := ready(ctx); err != nil {
		return problem(check, fmt.Sprintf("see %s; `benchd stop` and `benchd serve --detach` start it anew, and jobs go on meanwhile", dir.Log()),
			"process %d on %s has %s and does not answer: %v", owner.PID, owner.Host, dir, err)
	}
	return found(check, "process %d on %s answers, home %s, since %s", owner.PID, owner.Host, dir, owner.Since.Format(time.DateTime))
}

// planeReady asks the home's control plane whether it answers.
func planeReady(dir home.Dir) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := connect(dir)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Ready(ctx)
	}
}

// Variables of the report's toolkit. Of these, benchd itself reads the account alone.
const (
	userVariable   = "MLUX_USER"
	sshKeyVariable = "MLUX_KEY"
)

// checkEnvironment looks at the variables that the report's toolkit knows. Their values are compared with what Slurm says, if
// it says anything.
func checkEnvironment(env func(string) (string, bool), facts *site.Facts) []finding {
	var all []finding
	for _, v := range []struct {
		name string
		look func(name, value string) finding
	}{
		{userVariable, func(name, value string) finding { return checkUser(name, value, facts.User) }},
		{recipe.AccountVariable, func(name, value string) finding { return checkAccountVariable(name, value, facts) }},
		{sshKeyVariable, checkKey},
	} {
		value, set := env(v.name)
		if !set || value == "" {
			all = append(all, leftOut(v.name, "not set"))
			continue
		}
		all = append(all, v.look(v.name, value))
	}
	return all
}

func checkUser(name, value, user string) finding {
	if user != "" && value != user {
		return warning(name, "set it to "+user+", or run benchd as the user it names", "is %s, but commands here run as %s, and so do jobs", value, user)
	}
	return found(name, "%s, who runs this", value)
}

func checkAccountVariable(name, value string, facts *site.Facts) finding {
	switch accounts := facts.Accounts(); {
	case facts.Embedded:
		return leftOut(name, "%s; the embedded cluster knows no accounts", value)
	case !facts.Known(site.AskAssociations):
		return leftOut(name, "%s; your accounts are not known: %s", value, facts.Unknown[site.AskAssociations])
	case !slices.Contains(accounts, strings.ToLower(value)):
		return problem(name, "set it to one of your accounts, or ask the site to add you", "%s is none of your accounts (%s)", value, listed(accounts))
	}
	return found(name, "%s, one of your accounts", value)
}

// checkKey looks at the file of an SSH key; what it holds is not read.
func checkKey(name, path string) finding {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return problem(name, "correct the path, or unset it: benchd itself uses no key", "the key's file cannot be found: %v", err)
	case !info.Mode().IsRegular():
		return problem(name, "name the private key's file", "%s is no file", path)
	case info.Mode().Perm() != 0o600:
		return problem(name, "chmod 600 "+path, "%s has mode %04o: ssh takes a private key that its owner alone can read and write", path, info.Mode().Perm())
	}
	return found(name, "%s, mode 0600", path)
}

// listed joins words for people; an empty list is told as such.
func listed(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	const most = 12
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}
