package certs

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Lifetimes of the certificate that goes with a key.
const (
	certLife  = 90 * 24 * time.Hour
	certRenew = certLife / 3 // left when a new one is made
)

const (
	pemKey  = "PRIVATE KEY" // RFC 5958, PKCS #8
	pemCert = "CERTIFICATE"
)

// Identity returns this host's identity. The first call of all, in whatever process, makes its key. The certificate
// is made anew where it is due, missing, damaged or of another key. A damaged key is an error and stays as it is:
// with another one nobody would know us.
func (s *Store) Identity() (*crypto.Identity, error) {
	key, err := s.loadKey()
	if errors.Is(err, fs.ErrNotExist) {
		key, err = s.makeKey()
	}
	if err != nil {
		return nil, err
	}
	if cert, ok, err := s.loadCert(key); err != nil {
		return nil, err
	} else if ok {
		return crypto.NewIdentity(cert)
	}
	cert, err := s.renewCert(key)
	if err != nil {
		return nil, err
	}
	return crypto.NewIdentity(cert)
}

// RenewIfDue puts a new certificate into id, which Identity returned, when less than a third of its life is left or
// it has not begun yet (the clock was wrong). It tells whether it did. Call it hourly: connections that begin
// afterwards show the new one.
func (s *Store) RenewIfDue(id *crypto.Identity) (bool, error) {
	old := id.Certificate()
	if !s.due(old.Leaf) {
		return false, nil
	}
	key, ok := old.PrivateKey.(ed25519.PrivateKey)
	if !ok {
		return false, errors.New("renew the certificate: its key is not in a file")
	}
	cert, err := s.renewCert(key)
	if err != nil {
		return false, err
	}
	return true, id.SetCertificate(cert)
}

func (s *Store) due(leaf *x509.Certificate) bool {
	now := s.opts.Now()
	return now.Add(certRenew).After(leaf.NotAfter) || now.Before(leaf.NotBefore)
}

// loadKey returns the key on disk; fs.ErrNotExist when there is none.
func (s *Store) loadKey() (ed25519.PrivateKey, error) {
	data, _, err := s.read(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w. Put a copy of it back; or remove it to begin with a new identity, whom all who knew the old one must get to know again", s.path(keyFile), err)
	}
	return key, nil
}

// makeKey makes the key, unless another process has made it meanwhile.
func (s *Store) makeKey() (key ed25519.PrivateKey, err error) {
	err = s.locked(func() error {
		if key, err = s.loadKey(); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if key, err = crypto.GenerateKey(); err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		return s.write(keyFile, pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

// parseKey reads a private key: one PEM block with an Ed25519 key in PKCS #8, and nothing else.
func parseKey(data []byte) (ed25519.PrivateKey, error) {
	der, err := onePEM(data, pemKey)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	// The parser does not mind what follows.
	if rest, err2 := asn1.Unmarshal(der, new(asn1.RawValue)); err != nil || err2 != nil || len(rest) > 0 {
		return nil, errors.New("the private key in it cannot be read")
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("the private key in it is not an Ed25519 key")
	}
	return key, nil
}

// onePEM returns the content of a file that is one PEM block of the type.
func onePEM(data []byte, typ string) ([]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("the file is empty")
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the file is damaged, or not PEM")
	}
	if block.Type != typ {
		return nil, fmt.Errorf("the file holds a %q, want a %q", printable(block.Type), typ)
	}
	if len(block.Headers) > 0 {
		return nil, errors.New("the PEM block has headers (is it encrypted?)")
	}
	for _, c := range rest {
		if c != '\n' && c != '\r' && c != ' ' && c != '\t' {
			return nil, errors.New("the file goes on after its PEM block")
		}
	}
	return block.Bytes, nil
}

// loadCert returns the certificate on disk where it is of key and not due. That it is missing or damaged is no
// error, since it can be made again; that it cannot be read, or by others as well, is.
func (s *Store) loadCert(key ed25519.PrivateKey) (cert tls.Certificate, ok bool, err error) {
	data, _, err := s.read(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, false, nil
	}
	if err != nil {
		return tls.Certificate{}, false, err
	}
	der, err := onePEM(data, pemCert)
	if err != nil {
		return tls.Certificate{}, false, nil
	}
	// NewIdentity checks all that a certificate of ours must be, the key included.
	id, err := crypto.NewIdentity(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	if err != nil || s.due(id.Certificate().Leaf) {
		return tls.Certificate{}, false, nil
	}
	return id.Certificate(), true, nil
}

// renewCert returns the certificate that another process has put there meanwhile, or a new one that it put there.
func (s *Store) renewCert(key ed25519.PrivateKey) (cert tls.Certificate, err error) {
	err = s.locked(func() error {
		var ok bool
		if cert, ok, err = s.loadCert(key); ok || err != nil {
			return err
		}
		if cert, err = crypto.SelfSigned(key, s.opts.Now(), certLife); err != nil {
			return err
		}
		return s.write(certFile, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: cert.Certificate[0]}))
	})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("renew the certificate: %w", err)
	}
	return cert, nil
}

// LoadIdentityFile returns the identity of the private key in a file that a user names: PEM, PKCS #8, Ed25519, and
// closed to others as those of a Store. Its certificate begins at now, lives 90 days and is kept in memory only.
func LoadIdentityFile(path string, now time.Time) (*crypto.Identity, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	// The user may well have put a link there; what is refused is what the link leads to.
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	fsys, err := durable.OpenOS(filepath.Dir(target))
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	defer fsys.Close()
	data, _, err := readPrivate(fsys, filepath.Base(target), target)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w", path, err)
	}
	cert, err := crypto.SelfSigned(key, now, certLife)
	if err != nil {
		return nil, err
	}
	return crypto.NewIdentity(cert)
}
