package node

import (
	"errors"
	"net/http"
)

// maxRedirects is as many as http.Client follows by itself.
const maxRedirects = 10

// KeepMethod is http.Client.CheckRedirect for what is sent somewhere. An answer that makes a GET of it, such as the way to a login page, is
// given back as it is: what was sent has not been taken, whatever stands there.
func KeepMethod(req *http.Request, via []*http.Request) error {
	switch {
	case req.Method != via[0].Method:
		return http.ErrUseLastResponse
	case len(via) >= maxRedirects:
		return errors.New("redirected too often")
	}
	return nil
}
