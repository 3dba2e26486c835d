package controllers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/benchd/benchd/api/node"
	api "github.com/benchd/benchd/api/v1alpha1"
)

// secretError is a secret that cannot be had. The user has to mend it.
type secretError struct{ text string }

var _ error = (*secretError)(nil)

func (e *secretError) Error() string { return e.text }

// resolveSecret reads what a reference points at.
func resolveSecret(field string, ref *api.SecretSource) (string, error) {
	wrong := func(format string, args ...any) error {
		return &secretError{field + ": " + fmt.Sprintf(format, args...)}
	}
	if ref.Env != "" {
		value := strings.TrimRight(os.Getenv(ref.Env), "\r\n")
		if value == "" {
			return "", wrong("the variable %s is not set in the control plane's environment: export it and restart the control plane (`benchd stop`, then any command), or keep the secret in a file", ref.Env)
		}
		if strings.Contains(value, "\n") {
			return "", wrong("the variable %s holds several lines: a secret is a single one, or it would not be known where it is printed", ref.Env)
		}
		return value, nil
	}
	value, err := node.ReadSecret(ref.File)
	if err != nil {
		return "", wrong("%v", err)
	}
	return value, nil
}

// CheckSecret says why a secret cannot be had from where this process runs; nil when it can. The secret is not handed out.
func CheckSecret(field string, ref *api.SecretSource) error {
	_, err := resolveSecret(field, ref)
	return err
}

// writeSecrets puts the secrets of a job into its folder, where its owner alone can read them. They are nowhere else: not in
// the store, nor in the script, the manifest or a command line.
func writeSecrets(folder node.Folder, a *api.Allocation) error {
	refs, key := a.Spec.Container.Secrets, a.Spec.Service.APIKey
	if len(refs) == 0 && key == nil || node.Exists(folder.Secrets()) {
		return nil
	}
	secrets := node.Secrets{Env: map[string]string{}}
	for name, ref := range refs {
		value, err := resolveSecret("spec.container.secrets["+name+"]", &ref)
		if err != nil {
			return err
		}
		secrets.Env[name] = value
	}
	if key != nil {
		var err error
		if secrets.APIKey, err = resolveSecret("spec.service.apiKey", key); err != nil {
			return err
		}
	}
	return node.WriteSealed(folder.Secrets(), secrets)
}

// removeSecrets takes the secrets out of the folder of a job that has ended. The lead does it too; a job that never started, or
// whose lead was killed, leaves it to this.
func removeSecrets(a *api.Allocation) error {
	if a.Status.Folder == "" || len(a.Spec.Container.Secrets) == 0 && a.Spec.Service.APIKey == nil {
		return nil
	}
	err := os.Remove(node.Folder(a.Status.Folder).Secrets())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the secrets of a job that has ended: %w", err)
	}
	return nil
}
