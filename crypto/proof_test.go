package crypto

import (
	"bytes"
	"errors"
	"testing"
)

// channel returns both ends of a new TLS channel.
func channel(t *testing.T, client, server *Identity) (c, s end) {
	t.Helper()
	return mustHandshake(t, handshakeTCP, ClientTLSAny(client, nil), ServerTLS(server, nil))
}

func TestJoinIsBoundToSessionAndConnection(t *testing.T) {
	client, server := newIdentity(t), newIdentity(t)
	control, controlS := channel(t, client, server)
	data, dataS := channel(t, client, server)

	key, err := SessionKey(control)
	if err != nil {
		t.Fatal(err)
	}
	keyS, err := SessionKey(controlS)
	if err != nil || !bytes.Equal(key, keyS) || len(key) != 32 {
		t.Fatalf("the ends have the keys %x and %x, %v", key, keyS, err)
	}
	mac, err := JoinProof(key, data, 7)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(key []byte, on Exporter, counter uint64, mac []byte) bool {
		t.Helper()
		ok, err := VerifyJoinProof(key, on, counter, mac)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !verify(keyS, dataS, 7, mac) {
		t.Error("the right proof is refused")
	}
	// Somebody who saw the proof, and even the same client, can use it on no other connection, ...
	_, thief := channel(t, newIdentity(t), server)
	_, again := channel(t, client, server)
	if verify(keyS, thief, 7, mac) || verify(keyS, again, 7, mac) || verify(keyS, controlS, 7, mac) {
		t.Error("the proof is good on another connection")
	}
	// ... for no other stream, ...
	if verify(keyS, dataS, 8, mac) {
		t.Error("the proof is good with another counter")
	}
	// ... and in no other session.
	_, otherS := channel(t, client, server)
	otherKey, err := SessionKey(otherS)
	if err != nil {
		t.Fatal(err)
	}
	if verify(otherKey, dataS, 7, mac) {
		t.Error("the proof is good in another session")
	}
	for i := range mac {
		bad := bytes.Clone(mac)
		bad[i] ^= 0x80
		if verify(keyS, dataS, 7, bad) {
			t.Errorf("byte %d does not count", i)
		}
	}
}

func TestEnrolmentProofs(t *testing.T) {
	client, server := newIdentity(t), newIdentity(t)
	code, err := NewCode()
	if err != nil {
		t.Fatal(err)
	}
	c, s := channel(t, client, server)
	mc, err := code.ClientProof(c, client.SPKI(), peerSPKI(c))
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := code.VerifyClientProof(s, peerSPKI(s), server.SPKI(), mc); !ok || err != nil {
		t.Errorf("the client's proof: %v, %v", ok, err)
	}
	ms, err := code.ServerProof(s, peerSPKI(s), server.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := code.VerifyServerProof(c, client.SPKI(), peerSPKI(c), ms); !ok || err != nil {
		t.Errorf("the server's proof: %v, %v", ok, err)
	}
	if ok, _ := code.VerifyServerProof(c, client.SPKI(), peerSPKI(c), mc); ok {
		t.Error("the client's own proof sent back is taken for the server's")
	}
	wrong, _ := NewCode()
	if ok, _ := wrong.VerifyClientProof(s, peerSPKI(s), server.SPKI(), mc); ok {
		t.Error("another code verifies the proof")
	}
}

func peerSPKI(e end) []byte { return e.state.PeerCertificates[0].RawSubjectPublicKeyInfo }

// TestEnrolmentManInTheMiddle puts somebody between client and server who ends both channels and passes the proofs on.
func TestEnrolmentManInTheMiddle(t *testing.T) {
	client, server, mallory := newIdentity(t), newIdentity(t), newIdentity(t)
	code, err := NewCode()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := channel(t, client, mallory) // what the client believes to be the server
	_, s := channel(t, mallory, server) // what the server believes to be the client
	toClient, fromClient := peerSPKI(c), client.SPKI()
	toServer := peerSPKI(s)

	mc, err := code.ClientProof(c, fromClient, toClient)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := code.VerifyClientProof(s, toServer, server.SPKI(), mc); ok || err != nil {
		t.Errorf("the server takes the client's proof through Mallory: %v, %v", ok, err)
	}
	ms, err := code.ServerProof(s, toServer, server.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := code.VerifyServerProof(c, fromClient, toClient, ms); ok || err != nil {
		t.Errorf("the client takes the server's proof through Mallory: %v, %v", ok, err)
	}
	// Each half of the binding is enough: the right keys on the wrong channel, ...
	if ok, _ := code.VerifyClientProof(s, fromClient, toClient, mc); ok {
		t.Error("the exporter does not count")
	}
	// ... and the wrong keys on the right channel.
	if ok, _ := code.VerifyClientProof(c, toServer, server.SPKI(), mc); ok {
		t.Error("the keys do not count")
	}
}

func TestProofsWithoutExporter(t *testing.T) {
	none := errors.New("no keys yet")
	x := failingExporter{none}
	code, spki := Code{}, newIdentity(t).SPKI()
	if _, err := SessionKey(x); !errors.Is(err, none) {
		t.Errorf("SessionKey: %v", err)
	}
	if ok, err := VerifyJoinProof(make([]byte, 32), x, 0, nil); ok || !errors.Is(err, none) {
		t.Errorf("VerifyJoinProof: %v, %v", ok, err)
	}
	if ok, err := code.VerifyClientProof(x, spki, spki, nil); ok || !errors.Is(err, none) {
		t.Errorf("VerifyClientProof: %v, %v", ok, err)
	}
	if ok, err := code.VerifyServerProof(x, spki, spki, nil); ok || !errors.Is(err, none) {
		t.Errorf("VerifyServerProof: %v, %v", ok, err)
	}
}

type failingExporter struct{ err error }

func (e failingExporter) Export(string, int) ([]byte, error) { return nil, e.err }

func TestForgedReceipt(t *testing.T) {
	signer, other := newIdentity(t), newIdentity(t)
	msg := []byte("this file is published")
	sig, err := signer.SignReceipt(msg)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := VerifyReceipt(signer.SPKI(), msg, sig); err != nil || id != signer.ID() {
		t.Errorf("the right receipt: %v, %v", id, err)
	}
	for i := range msg {
		bad := bytes.Clone(msg)
		bad[i] ^= 1
		if _, err := VerifyReceipt(signer.SPKI(), bad, sig); !errors.Is(err, ErrReceiptSignature) {
			t.Errorf("byte %d of the message changed: %v", i, err)
		}
	}
	for i := range sig {
		bad := sig
		bad[i] ^= 1
		if _, err := VerifyReceipt(signer.SPKI(), msg, bad); !errors.Is(err, ErrReceiptSignature) {
			t.Errorf("byte %d of the signature changed: %v", i, err)
		}
	}
	if _, err := VerifyReceipt(other.SPKI(), msg, sig); !errors.Is(err, ErrReceiptSignature) {
		t.Errorf("another signer: %v", err)
	}
}
