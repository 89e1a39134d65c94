package main

// rules says who may import whom. A package that is not in the table fails the check: put it there with care.
type rules struct {
	module string
	// ours is what each package of ours may import of ours, in its own files. Imports point downward only:
	// cmd -> cli -> daemon -> daemon/control -> transfer -> {sink, tree, transport, wire} -> {crypto, durable},
	// and certs -> {crypto, durable}.
	ours map[string][]string
	// helpers are packages for tests. Any test may import them; besides, only they each other.
	helpers []string
	// pins are third-party packages (and all beneath them) with the packages of ours that may import them. What
	// stands in no pin is not imported at all.
	pins map[string][]string
	// testOnly are pins that only tests and helpers import.
	testOnly []string
	// modules are all that go.mod may require.
	modules []string
	// std are names that package crypto of the standard library exports: ours exports none of them, so that the
	// wrong import of the two does not compile.
	std []string
}

func xferRules() rules {
	const (
		crypto    = "crypto"
		certs     = "certs"
		certstest = "certs/certstest"
		cli       = "cli"
		daemon    = "daemon"
		control   = "daemon/control"
		transfer  = "transfer"
		durable   = "transfer/durable"
		crashfs   = "transfer/durable/crashfs"
		sink      = "transfer/sink"
		transport = "transfer/transport"
		suite     = "transfer/transport/transporttest"
		tree      = "transfer/tree"
		wire      = "transfer/wire"
	)
	engine := []string{transfer, sink, tree, transport, wire, crypto, durable}
	return rules{
		module: "xfer",
		ours: map[string][]string{
			crypto:      {},
			durable:     {},
			wire:        {},
			tree:        {durable},
			transport:   {crypto},
			sink:        {crypto, durable},
			transfer:    engine[1:],
			certs:       {crypto, durable},
			control:     engine,
			daemon:      append([]string{control, certs}, engine...),
			cli:         append([]string{daemon, control, certs}, engine...),
			"cmd/xfer":  {cli},
			"cmd/check": {},
			"cmd/bench": append([]string{cli, daemon, control, certs}, engine...),

			certstest: {certs, crypto, durable},
			crashfs:   {durable},
			suite:     {transport, crypto},
		},
		helpers: []string{certstest, crashfs, suite},
		pins: map[string][]string{
			// cmd/bench has a bare copy over it, to compare with.
			"github.com/quic-go/quic-go":        {transport, suite, "cmd/bench"},
			"github.com/cenkalti/backoff/v4":    {transfer},
			"github.com/fxamacker/cbor/v2":      {wire},
			"github.com/spf13/cobra":            {cli},
			"github.com/spf13/pflag":            {cli},
			"github.com/schollz/progressbar/v3": {cli},
			"github.com/pelletier/go-toml/v2":   {cli, certs, daemon},
			"github.com/klauspost/compress":     {transfer},
			"github.com/zeebo/blake3":           {crypto},
			"lukechampine.com/blake3":           {crypto},
			"golang.org/x/net/ipv4":             {transport}, // the message type of quic-go's sockets
			"golang.org/x/term":                 {cli},
			"golang.org/x/time/rate":            {transfer, daemon},
			"golang.org/x/sync":                 {transfer, transport, sink, daemon},
			"golang.org/x/sys":                  {crypto, durable, transport, transfer, sink, control, daemon, cli},
			"go.uber.org/goleak":                {},
			"pgregory.net/rapid":                {},
			"github.com/rogpeppe/go-internal":   {},
			"github.com/hanwen/go-fuse/v2":      {},
		},
		testOnly: []string{
			"go.uber.org/goleak", "pgregory.net/rapid", "github.com/rogpeppe/go-internal", "github.com/hanwen/go-fuse/v2",
		},
		modules: []string{
			// Imported by us, where the pins say.
			"github.com/cenkalti/backoff/v4", "github.com/fxamacker/cbor/v2", "github.com/pelletier/go-toml/v2",
			"github.com/quic-go/quic-go", "github.com/rogpeppe/go-internal", "github.com/schollz/progressbar/v3",
			"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/zeebo/blake3", "go.uber.org/goleak",
			"golang.org/x/net", "golang.org/x/sync", "golang.org/x/sys", "golang.org/x/term", "golang.org/x/time", "lukechampine.com/blake3",
			"pgregory.net/rapid", "github.com/hanwen/go-fuse/v2",
			// Imported by those.
			"github.com/cpuguy83/go-md2man/v2", "github.com/inconshreveable/mousetrap", "github.com/klauspost/compress",
			"github.com/klauspost/cpuid/v2",
			"github.com/mitchellh/colorstring", "github.com/rivo/uniseg", "github.com/russross/blackfriday/v2",
			"github.com/x448/float16", "go.yaml.in/yaml/v3", "golang.org/x/crypto", "golang.org/x/tools",
		},
		std: []string{
			"Hash", "Signer", "SignerOpts", "MessageSigner", "SignMessage", "PublicKey", "PrivateKey", "Decrypter",
			"DecrypterOpts", "Encapsulator", "Decapsulator", "RegisterHash",
			"MD4", "MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512", "MD5SHA1", "RIPEMD160", "SHA3_224", "SHA3_256",
			"SHA3_384", "SHA3_512", "SHA512_224", "SHA512_256", "BLAKE2s_256", "BLAKE2b_256", "BLAKE2b_384", "BLAKE2b_512",
		},
	}
}
