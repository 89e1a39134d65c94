package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/crypto"
	"xfer/transfer"
)

// maxReceiptFile bounds what is read of a receipt file: some millions of files.
const maxReceiptFile = 1 << 30

func (a *app) receiptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "receipt", Short: "show or verify a receipt, offline",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("want show or verify, got %s", quote(args[0]))
			}
			return usagef("want show or verify")
		},
	}
	show := &cobra.Command{Use: "show FILE", Short: "hash, size and path of each file, and the manifest's hash of a tree", Args: operands(1, 1, "one FILE")}
	verify := &cobra.Command{Use: "verify FILE", Short: "check that nothing was altered and that we know who signed", Args: operands(1, 1, "one FILE"),
		Long: "verify exits 0 where every signature is right and of a key that we know, 26 where anything was altered, 5 for an unknown signer."}
	fs, fv := localFlags(show), localFlags(verify)
	show.RunE = func(cmd *cobra.Command, args []string) error {
		return a.prepare(cmd, fs, "", func(ctx context.Context, o *output) error {
			f, err := readReceipts(a.env.Stdin, args[0])
			if err != nil {
				return err
			}
			return showReceipts(o, f)
		})
	}
	verify.RunE = func(cmd *cobra.Command, args []string) error {
		return a.prepare(cmd, fv, "", func(ctx context.Context, o *output) error {
			f, err := readReceipts(a.env.Stdin, args[0])
			if err != nil {
				return err
			}
			return a.verifyReceipts(o, f)
		})
	}
	cmd.AddCommand(show, verify)
	return cmd
}

// readReceipts reads a receipt file. What does not decode was altered or never was one: both are a failed verification.
func readReceipts(stdin io.Reader, name string) (transfer.ReceiptFile, error) {
	var list transfer.ReceiptFile
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			return list, failf(exitNotFound, noHint, "receipt %s: there is no such file", quote(name))
		}
		if err != nil {
			return list, localIO(err)
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxReceiptFile+1))
	if err != nil {
		return list, localIO(err)
	}
	if len(data) > maxReceiptFile {
		return list, failf(exitVerify, noHint, "receipt %s: larger than any receipt", quote(name))
	}
	list, err = transfer.DecodeReceiptFile(data)
	if err != nil {
		return list, failf(exitVerify, "get it from the place where it was kept, or send again with --receipt", "%s is no receipt, or it was altered: %v", quote(name), err)
	}
	return list, nil
}

type jsonReceipt struct {
	Event string `json:"event"`
	Time  string `json:"time"`
	jsonPath
	Hash       string `json:"hash"`
	Bytes      int64  `json:"bytes"`
	Published  string `json:"published"`
	Durability string `json:"durability"`
	Signer     string `json:"signer"`
}

// jsonManifest is in the result of "receipt show": null where no tree was received.
type jsonManifest struct {
	Manifest *string `json:"manifest"`
}

func showReceipts(o *output, f transfer.ReceiptFile) error {
	for r := range f.All() {
		if o.json() {
			o.emit(jsonReceipt{"file", stamp(time.Now()), pathJSON(r.Path), r.Root.String(), r.Size, stamp(r.Time), r.Durability, crypto.PeerIDOfSPKI(r.Signer).String()})
			o.count(r.Size)
			continue
		}
		if err := o.print(fmt.Sprintf("%s  %d  %s\n", r.Root, r.Size, quote(r.Path))); err != nil {
			return err
		}
	}
	var m jsonManifest
	if f.Tree {
		hash := f.Manifest().String()
		m.Manifest = &hash
		if !o.json() {
			if err := o.print("manifest  " + hash + "\n"); err != nil {
				return err
			}
		}
	}
	return o.result(m)
}

// verifyReceipts checks every signature, and that we know who signed: ourselves, a server or a client.
func (a *app) verifyReceipts(o *output, f transfer.ReceiptFile) error {
	names, err := a.knownSigners()
	if err != nil {
		return err
	}
	unknown := map[crypto.PeerID]int{}
	signers := map[string]bool{}
	signed := func(path string, files int, id crypto.PeerID, err error) error {
		if err != nil {
			return failf(exitVerify, "do not trust this file", "receipt of %s: %v", quote(path), err)
		}
		if name, ok := names[id]; ok {
			signers[name] = true
		} else {
			unknown[id] += files
		}
		return nil
	}
	for _, r := range f.Receipts {
		id, err := r.Verify()
		if err := signed(r.Path, 1, id, err); err != nil {
			return err
		}
	}
	for _, t := range f.Trees {
		id, err := t.Verify()
		if err := signed(t.Path, len(t.Files), id, err); err != nil {
			return err
		}
	}
	var last time.Time
	for r := range f.All() {
		if r.Time.After(last) {
			last = r.Time
		}
		o.count(r.Size)
	}
	for id, n := range unknown {
		return failf(exitTrust, "nothing was altered; if this is a host of yours, enroll with it", "%s: signed by %s, whom we do not know", fileCount(int64(n)), id.Grouped())
	}
	if f.Len() == 0 {
		o.setSummary("xfer: the receipt is of no file at all")
		return nil
	}
	var who []string
	for name := range signers {
		who = append(who, name)
	}
	o.setSummary(fmt.Sprintf("xfer: good: %s, published until %s, signed by %s", fileCount(int64(f.Len())), last.Local().Format(time.DateTime), strings.Join(who, ", ")))
	return nil
}

// knownSigners are the keys whose receipts count, with what to call them.
func (a *app) knownSigners() (map[crypto.PeerID]string, error) {
	p, err := findPlaces(&a.env)
	if err != nil {
		return nil, err
	}
	s, err := openStore(p)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	names := map[crypto.PeerID]string{}
	clients, _ := s.Clients()
	for _, c := range clients {
		names[c.ID] = "client " + quote(c.Name)
	}
	peers, err := s.Peers()
	if err != nil {
		return nil, storeError(err)
	}
	for _, p := range peers {
		names[p.ID] = quote(p.Addr)
	}
	id, err := s.Identity()
	if err != nil {
		return nil, storeError(err)
	}
	names[id.ID()] = "ourselves"
	return names, nil
}
