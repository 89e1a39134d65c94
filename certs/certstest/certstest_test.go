package certstest_test

import (
	"crypto/ecdsa"
	"errors"
	"testing"
	"time"

	"xfer/certs/certstest"
	"xfer/crypto"
)

func TestIdentities(t *testing.T) {
	a, b := certstest.Pair(t)
	if a.ID() == b.ID() {
		t.Error("a pair is one")
	}
	for name, c := range map[string]struct {
		id     *crypto.Identity
		reason crypto.CertReason
	}{
		"expired":       {certstest.Expired(t), crypto.CertExpired},
		"not yet valid": {certstest.NotYetValid(t), crypto.CertNotYetValid},
	} {
		var ce *crypto.CertError
		if err := crypto.CheckCertificate(c.id.Certificate().Leaf, time.Now()); !errors.As(err, &ce) || ce.Reason != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := crypto.CheckCertificate(certstest.New(t).Certificate().Leaf, time.Now()); err != nil {
		t.Error(err)
	}
	wrong := certstest.WrongKeyType(t)
	if _, ok := wrong.PrivateKey.(*ecdsa.PrivateKey); !ok {
		t.Errorf("a key of type %T", wrong.PrivateKey)
	}
	if _, err := crypto.NewIdentity(wrong); err == nil {
		t.Error("the wrong kind of key is an identity")
	}
}

func TestStore(t *testing.T) {
	s := certstest.Store(t)
	if _, err := s.Identity(); err != nil {
		t.Error(err)
	}
	if s.Dir() == certstest.Store(t).Dir() {
		t.Error("two stores in one directory")
	}
}
