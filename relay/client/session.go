package client

import (
	"io"
	"time"

	"github.com/credant/credant/relay/wire"
)

// session is what lasts as long as the relay's exchange key.
type session struct {
	*wire.Session
	number uint32      // of the last request
	pushes wire.Window // that came
	cookie cookie      // of the relay's main port
	lost   bool        // the relay says that it knows it no longer
}

func newSession(challenge wire.Challenge, rand io.Reader) (*session, error) {
	s, err := wire.NewSession(challenge.Server, challenge.Exchange, rand)
	if err != nil {
		return nil, err
	}
	return &session{Session: s}, nil
}

func (s *session) isWith(challenge wire.Challenge) bool {
	return s.Server() == challenge.Server && s.ExchangeKey() == challenge.Exchange
}

// cookie is the newest cookie for one port of the relay. The relay refuses one
// that is older than the newest that it has seen used.
type cookie struct {
	wire.Cookie
	at    time.Time
	after uint32 // it came after the request with this number
}

// cookieKept is less than the shortest time for which a relay takes a cookie.
const cookieKept = 100 * time.Second

func (k *cookie) renew(now time.Time, fresh wire.Cookie, number uint32) {
	if !fresh.IsZero() && number >= k.after {
		*k = cookie{fresh, now, number}
	}
}

func (k *cookie) isGood(now time.Time) bool {
	return !k.IsZero() && now.Before(k.at.Add(cookieKept))
}
