package node

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

// maxSecret bounds a secret's length: what is longer is not one.
const maxSecret = 64 << 10

// ReadSecret reads a secret of a single line from a file that its owner alone can read; a line break at its end is left out. What a
// file that was refused holds is not told.
func ReadSecret(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("the secret's file cannot be read: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxSecret:
		return "", fmt.Errorf("%s is no file of at most %d bytes", path, maxSecret)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("others can read %s (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the secret's file cannot be read: %w", err)
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" || strings.ContainsAny(value, "\x00\r\n") {
		return "", fmt.Errorf("%s holds no secret: write it as a single line", path)
	}
	return value, nil
}

// Authorize sets a request's Authorization header to what a file holds, such as `Bearer TOKEN`; without a file it does nothing. It is
// for the first request alone: on its way to another host http.Client leaves the header out.
func Authorize(req *http.Request, file string) error {
	if file == "" {
		return nil
	}
	value, err := ReadSecret(file)
	if err != nil {
		return fmt.Errorf("authorizationFile: %w", err)
	}
	req.Header.Set("Authorization", value)
	return nil
}
