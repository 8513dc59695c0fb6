package wire

import (
	"errors"
	"fmt"
	"net/url"
)

// ErrDowngrade: an address in an answer by https is one of http.
var ErrDowngrade = errors.New("refused to go from https to http")

// CheckURL refuses addresses that are not plain http or https ones. User information in one would be sent as a
// credential by parts of net/http.
func CheckURL(u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("refused an address of scheme %.20q", u.Scheme)
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return errors.New("refused an address without a host")
	case u.User != nil:
		return errors.New("refused an address with a user name in it")
	}
	return nil
}

// URLError takes the address out of an error of package url, as its query may be a credential.
func URLError(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return fmt.Errorf("not an address: %w", e.Err)
	}
	return err
}
