package wire

// TreeCompare says when a file that is there is the one that would be sent.
type TreeCompare uint8

// The comparisons.
const (
	TreeByTime    TreeCompare = 0 // same size and modification time
	TreeByContent TreeCompare = 1 // same size and content: the receiver tells the hash of what it has
)

// Flags of TreeOpen.
const (
	TreeNoClobber      = 1 << 0 // what is there and differs is a failure of its entry (EXISTS)
	TreeIgnoreExisting = 1 << 1 // what is there is left out
	TreeExisting       = 1 << 2 // what is not there is left out
	TreeUpdate         = 1 << 3 // a file that is newer there is left out
	TreeDryRun         = 1 << 4 // verdicts only; nothing is changed
	TreeTellExtra      = 1 << 5 // names that are there and not in the manifest are told
	TreeList           = 1 << 6 // the receipt has the hash of the list of files
	TreeMayDelete      = 1 << 7 // TREE_DELETE may come
	TreeExact          = 1 << 8 // the mode counts with all its bits, owners and attributes are in the manifest

	treeFlags = 1<<9 - 1
)

// TreeOpen begins a tree; the frame's id is its handle.
type TreeOpen struct {
	Tree       TransferID  `cbor:"1,keyasint"`
	Root       string      `cbor:"3,keyasint" wire:"max=255"` // "" = the client's default; always "" in one that answers TREE_GET
	Path       Path        `cbor:"5,keyasint"`                // of the top directory, made if missing
	Durability Durability  `cbor:"7,keyasint" wire:"enum=2"`
	Compare    TreeCompare `cbor:"9,keyasint" wire:"enum=1"`
	Flags      uint64      `cbor:"11,keyasint" wire:"enum=511"`
	Backup     Path        `cbor:"4,keyasint,omitzero"` // a directory beneath Root for what is replaced or deleted
}

// Type returns TTreeOpen.
func (TreeOpen) Type() Type { return TTreeOpen }

func (m TreeOpen) check() error { return checkLabel(m.Root) }

// TreeOpened answers TREE_OPEN.
type TreeOpened struct {
	Ahead uint64 `cbor:"1,keyasint" wire:"min=1,max=1024"` // parts that may be without verdicts at a time
	Small uint64 `cbor:"3,keyasint" wire:"max=0xfffbd"`    // the largest file that may come in a PACK, bytes
	Held  bool   `cbor:"2,keyasint,omitempty"`             // the top directory was there before
	Into  Path   `cbor:"4,keyasint,omitzero"`              // of the top directory, where the answer to TREE_GET chose it
}

// Type returns TTreeOpened.
func (TreeOpened) Type() Type { return TTreeOpened }

func (TreeOpened) check() error { return nil }

// TreeGet asks the server to send the directory at Path as a tree; it answers with TREE_OPEN on the handle, which is the
// frame's id.
type TreeGet struct {
	Root    string      `cbor:"1,keyasint" wire:"max=255"`
	Path    Path        `cbor:"3,keyasint"`
	Compare TreeCompare `cbor:"5,keyasint" wire:"enum=1"`
	Flags   uint64      `cbor:"7,keyasint" wire:"enum=511"`                         // as in TreeOpen
	Walk    uint64      `cbor:"9,keyasint" wire:"enum=31"`                          // TreeOneFileSystem, ...
	Rules   [][]byte    `cbor:"2,keyasint,omitempty" wire:"n=4096,min=1,max=4352"`  // what is left out, and what is not
	Names   [][]byte    `cbor:"11,keyasint,omitempty" wire:"n=4096,min=1,max=4096"` // if there are any, nothing else is sent
}

// Flags of TreeGet.Walk.
const (
	TreeOneFileSystem = 1 << 0 // nothing of other file systems
	TreeFollowLinks   = 1 << 1 // what links lead to, within the root
	TreeGitignore     = 1 << 2 // .gitignore files count
	TreeNamed         = 1 << 3 // the rules see the directory by its name, not what is in it
	TreeRecurse       = 1 << 4 // Names bring what is beneath them

	treeWalk = 1<<5 - 1
)

// Type returns TTreeGet.
func (TreeGet) Type() Type { return TTreeGet }

func (m TreeGet) check() error { return checkLabel(m.Root) }
