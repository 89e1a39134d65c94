package transfer

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file checks the order of steps that makes resuming and publishing safe, by visiting every state that they can
// lead to. It is a model: no byte is moved, no file is opened. One file of two chunks is sent to one name. Between any
// two steps the source may change, the sender may open the transfer again, the receiver's process may crash and its
// power may fail; frames are late, come twice, or never.
//
// A version of the source stands for its content and for its fingerprint: a change always makes a new one, since no
// two have the same ctime. A chunk is read at once (one that is torn by a change while it is read is just one more wrong
// content) and arrives in two pieces, in this order. Its hash is the version that was read: TLS and the hash see to it that
// what arrives is not damaged.
//
// When the kernel writes a page back is not a step. For each piece and each record the state has the set of what the
// disk may hold by now; a power loss picks one of each, in all combinations, and a sync leaves one.
//
// Asserted are I1 to I4 of package sink. I5 to I7 are rules that the model follows; TestModelMutations shows what becomes
// of the others without the rules. Not in the model: kept prefixes of chunks, failing syncs, other senders to the same name.

const (
	modelChunks   = 2
	modelPieces   = 2 // of a chunk
	modelStreams  = 2 // of an attempt, at most
	modelAttempts = 3 // at most
	modelVersions = 4 // 1 to 3; 0 is none
)

// modelQuad is four versions: one for each piece, for each chunk, or for each chunk on each stream.
type modelQuad uint8

func (q modelQuad) at(i int) uint8      { return uint8(q) >> (2 * i) & 3 }
func (q *modelQuad) set(i int, v uint8) { *q = *q&^(3<<(2*i)) | modelQuad(v)<<(2*i) }

// modelSets is four sets of versions: one for each piece, or for each chunk.
type modelSets uint16

func (m modelSets) has(i int, v uint8) bool { return m>>(4*i)>>v&1 != 0 }

// is tells whether v is in the set and nothing else.
func (m modelSets) is(i int, v uint8) bool { return m>>(4*i)&15 == 1<<v }

func (m *modelSets) add(i int, v uint8)  { *m |= 1 << v << (4 * i) }
func (m *modelSets) only(i int, v uint8) { *m = *m&^(15<<(4*i)) | 1<<v<<(4*i) }

// modelNothing is the sets where nothing was written.
const modelNothing modelSets = 0x1111

// modelPiece is the index of a piece in a modelQuad or modelSets, modelStream that of a chunk on a stream.
func modelPiece(chunk, piece int) int   { return modelPieces*chunk + piece }
func modelStream(chunk, stream int) int { return modelStreams*chunk + stream }

// modelState is one state of source, sender, network, and receiver with its disk.
type modelState struct {
	// The network. streams has, for each attempt and by modelStream, the version of a chunk whose first piece has come on
	// that stream and was written, while the second is to come; 0 is none. (What has not begun to arrive is no
	// state: any version that there was may arrive at any time.)
	streams [modelAttempts]modelQuad

	// The receiver's process.
	owner   [modelChunks]uint8 // the stream that may write the chunk: 0 is none, else modelOwner
	live    bool               // the newest attempt goes on: it has neither ended nor lost the receiver
	syncing bool               // in a group commit: the data is synced, the MARK is still to be written
	snap    modelQuad          // by chunk: the records that it will cover
	sealing bool               // between the rename and the receipt

	// The stage's files, as every process on the machine sees them, and what a power loss may leave of them.
	fp      uint8     // the fingerprint of the stage, 0 if there is none
	named   bool      // its directory would survive a power loss
	cold    bool      // no process that lives has opened it
	data    modelQuad // by modelPiece: what was written, 0 is nothing
	dataMay modelSets // by modelPiece: data's value is one of them
	rec     modelQuad // by chunk: the hash in its CHUNK record, 0 if there is none, or a DROP after it
	recMay  modelSets // by chunk: rec's value is one of them
	mark    modelQuad // by chunk: the hash in the record that a synced MARK covers

	// The final name and done.log.
	pub       bool  // the stage's data file has the final name
	pubSynced bool  // and keeps it after a power loss
	log       uint8 // the version in the logged and synced receipt, 0 if there is none

	// The sender, and what it was told.
	src      uint8             // the version of the source
	attempts uint8             // how often it has opened the transfer
	durable  [modelChunks]bool // the chunk is durable
	receipt  uint8             // the version in the first receipt that it was sent, 0 is none
	denied   bool              // a later OPEN did not get that receipt

	crashes uint8 // of the process or of power, so far
}

// modelOwner is a stream of an attempt as an owner.
func modelOwner(attempt, stream int) uint8 { return uint8(1 + modelStreams*attempt + stream) }

// held tells whether the receiver counts the chunk.
func (s *modelState) held(chunk int) bool { return s.rec.at(chunk) != 0 }

func (s *modelState) whole() bool { return s.held(0) && s.held(1) }

// write puts a piece in its place, unsynced.
func (s *modelState) write(chunk, piece int, version uint8) {
	i := modelPiece(chunk, piece)
	s.data.set(i, version)
	s.dataMay.add(i, version)
}

// record appends a CHUNK record to the journal, or a DROP if hash is 0, unsynced.
func (s *modelState) record(chunk int, hash uint8) {
	s.rec.set(chunk, hash)
	s.recMay.add(chunk, hash)
}

// syncData is fdatasync of the data file.
func (s *modelState) syncData() {
	for i := range modelChunks * modelPieces {
		s.dataMay.only(i, s.data.at(i))
	}
}

// syncMark writes a MARK that covers the records in snap, and is fdatasync of the journal.
func (s *modelState) syncMark() {
	for c := range modelChunks {
		s.recMay.only(c, s.rec.at(c))
		if s.snap.at(c) != 0 {
			s.mark.set(c, s.snap.at(c))
		}
	}
}

// reads tells whether who reads the data file gets all of chunk in this version.
func (s *modelState) reads(chunk int, version uint8) bool {
	return s.data.at(modelPiece(chunk, 0)) == version && s.data.at(modelPiece(chunk, 1)) == version
}

// onDisk tells whether the disk has all of chunk in this version, and cannot have anything else.
func (s *modelState) onDisk(chunk int, version uint8) bool {
	return s.dataMay.is(modelPiece(chunk, 0), version) && s.dataMay.is(modelPiece(chunk, 1), version)
}

// forgetStage leaves nothing of the stage.
func (s *modelState) forgetStage() {
	s.fp, s.named, s.cold = 0, false, false
	s.data, s.dataMay = 0, modelNothing
	s.forgetJournal()
}

func (s *modelState) forgetJournal() {
	s.rec, s.mark, s.recMay = 0, 0, modelNothing
}

// endStreams ends all streams.
func (s *modelState) endStreams() {
	s.streams = [modelAttempts]modelQuad{}
	s.owner = [modelChunks]uint8{}
	for c := range modelChunks {
		s.forgetUnknown(c)
	}
}

// forgetUnknown is for a chunk that nobody writes. If no record speaks of it, not even one that a power loss could bring
// back, then what is in its place is as good as nothing, and fewer states are to be visited.
func (s *modelState) forgetUnknown(chunk int) {
	if s.mark.at(chunk) != 0 || !s.recMay.is(chunk, 0) || s.pub {
		return
	}
	for p := range modelPieces {
		s.data.set(modelPiece(chunk, p), 0)
		s.dataMay.only(modelPiece(chunk, p), 0)
	}
}

// check returns which invariant does not hold in s, or "".
func (s *modelState) check() string {
	for c := range modelChunks {
		m := s.mark.at(c)
		survives := m != 0 && s.named && s.recMay.is(c, m) && s.onDisk(c, m)
		switch {
		case s.pub && !(s.reads(c, s.fp) && s.onDisk(c, s.fp)):
			return "I1: the final name has, or may have after power loss, a mixed file or a hole"
		case m != 0 && !s.onDisk(c, m):
			return "I3: a MARK covers a chunk that may not be on the disk"
		case s.durable[c] && !s.pubSynced && !survives:
			return "I2: a chunk that was called durable may not survive power loss"
		case s.durable[c] && s.live && s.rec.at(c) != m:
			return "I2: a chunk that was called durable is not held"
		}
	}
	switch {
	case s.denied:
		return "I4: an OPEN after the receipt did not get it"
	case s.receipt != 0 && !(s.pubSynced && s.fp == s.receipt):
		return "I4: a receipt without durable publication"
	}
	return ""
}

// modelRules says in which points the design is not followed. The zero value is the design.
type modelRules struct {
	noFence          bool // I5: frames of an older attempt are taken
	rewrite          bool // I6: a held chunk is claimed and recorded once more
	writeHeld        bool // I6: what comes for a held chunk is written, and compared afterwards
	twoWriters       bool // I6: who has lost a chunk to another stream goes on writing it
	resetInPlace     bool // I7: a new fingerprint gets the files of the old one
	noRehash         bool // the records of another process are believed
	heldIsDurable    bool // a loaded chunk that matches is called durable, with or without a MARK
	markFirst        bool // the MARK is synced before the data
	markLate         bool // the MARK covers records that came while the data was synced
	namesUnsynced    bool // the stage's directory is not synced before the MARK
	noFinalStat      bool // the source is not looked at before COMMIT
	renameUnsynced   bool // the data is not synced before it gets the final name
	receiptBeforeDir bool // the receipt is sent before the directory is synced
	receiptBeforeLog bool // the receipt is sent before done.log is synced
}

// modelBounds keep the model finite.
type modelBounds struct {
	versions uint8 // of the source
	attempts uint8
	crashes  uint8
	streams  int // of an attempt
}

type modelKind uint8

const (
	modelChange modelKind = iota
	modelOpenNew
	modelOpenPartial
	modelOpenDropped
	modelOpenForward
	modelOpenDone
	modelClaim
	modelTakeOver
	modelFinish
	modelDuplicate
	modelConflict
	modelLost
	modelIgnored
	modelSyncBegin
	modelSyncEnd
	modelCommit
	modelCommitForward
	modelSyncDir
	modelSyncLog
	modelReceipt
	modelCrash
	modelPowerLoss
	modelKinds // how many there are
)

func (k modelKind) String() string {
	return [modelKinds]string{
		modelChange:        "the source changes",
		modelOpenNew:       "OPEN: new stage",
		modelOpenPartial:   "OPEN: partial",
		modelOpenDropped:   "OPEN: partial, a record is not true and dropped",
		modelOpenForward:   "OPEN: published already, but not logged",
		modelOpenDone:      "OPEN: done, the receipt again",
		modelClaim:         "first piece: claim",
		modelTakeOver:      "first piece: take over",
		modelFinish:        "last piece: recorded, ACK",
		modelDuplicate:     "all pieces: held with this hash, ACK",
		modelConflict:      "all pieces: held with another hash, the attempt ends",
		modelLost:          "last piece: dropped, another stream has the chunk",
		modelIgnored:       "dropped, its attempt has ended",
		modelSyncBegin:     "group commit: first sync",
		modelSyncEnd:       "group commit: second sync, durable ACK",
		modelCommit:        "COMMIT: data synced, renamed",
		modelCommitForward: "COMMIT: has its name already",
		modelSyncDir:       "directory synced",
		modelSyncLog:       "done.log synced",
		modelReceipt:       "RECEIPT",
		modelCrash:         "process crash",
		modelPowerLoss:     "POWER LOSS",
	}[k]
}

// modelStep is a step with what it is about.
type modelStep struct {
	kind                   modelKind
	chunk, attempt, stream int
	version                uint8 // of a chunk that arrives, else 0
}

func (st modelStep) String() string {
	if st.version == 0 {
		return st.kind.String()
	}
	return fmt.Sprintf("%v (chunk %d of version %d, attempt %d, stream %d)", st.kind, st.chunk, st.version, st.attempt+1, st.stream)
}

// model knows what can follow a state. Its methods take a copy of the state, change it, and emit it.
type model struct {
	rules  modelRules
	bounds modelBounds
	emit   func(modelStep, modelState)
}

// next emits all states that can follow s.
func (m *model) next(s modelState) {
	if s.src < m.bounds.versions {
		n := s
		n.src++
		m.emit(modelStep{kind: modelChange}, n)
	}
	if s.attempts < m.bounds.attempts && !s.sealing { // an OPEN waits for who publishes
		m.open(s)
	}
	m.deliver(s)
	switch {
	case s.sealing:
		m.publish(s)
	case s.live && s.pub:
		m.commitForward(s)
	case s.live:
		m.groupCommit(s)
		m.commit(s)
	}
	if s.crashes < m.bounds.crashes {
		m.crash(s)
	}
}

// open is OPEN and its answer. The newest attempt always wins.
func (m *model) open(n modelState) {
	n.attempts++
	n.live = true
	n.syncing, n.snap = false, 0
	m.fence(&n)
	if n.log != 0 {
		n.denied = n.receipt != 0 && n.receipt != n.log
		n.receipt = n.log
		n.live = false
		m.emit(modelStep{kind: modelOpenDone}, n)
		return
	}
	n.denied = n.receipt != 0
	kind := modelOpenNew
	if n.fp == n.src {
		kind = m.load(&n)
	}
	if kind == modelOpenNew {
		m.create(&n)
	}
	m.emit(modelStep{kind: kind}, n)
}

// load takes up the stage. A record is a claim: those of another process are compared with what the data file has. A
// MARK decides only what may be called durable. A file that was published although its journal is not complete any
// more is sent again.
func (m *model) load(n *modelState) modelKind {
	kind := modelOpenPartial
	for c := range modelChunks {
		if n.cold && n.held(c) && !n.reads(c, n.rec.at(c)) && !m.rules.noRehash {
			n.record(c, 0)
			n.mark.set(c, 0)
			kind = modelOpenDropped
		}
		if n.held(c) && (n.mark.at(c) == n.rec.at(c) || m.rules.heldIsDurable) {
			n.durable[c] = true
		}
	}
	n.cold = false
	switch {
	case n.pub && n.whole():
		return modelOpenForward
	case n.pub:
		return modelOpenNew
	}
	return kind
}

// create makes a stage for the version that the source has now, and removes what was there. A file that was published
// from it keeps its name, and is one that nobody writes to any more.
func (m *model) create(n *modelState) {
	n.durable = [modelChunks]bool{}
	n.pub, n.pubSynced = false, false
	if m.rules.resetInPlace {
		n.record(0, 0)
		n.record(1, 0)
		n.fp, n.cold = n.src, false
		return
	}
	n.endStreams() // who has the old files open still writes to them, where nobody will look
	n.forgetStage()
	n.fp = n.src
}

// fence ends the attempt for its streams (I5). What they bring from now on is dropped when it arrives. It may be
// forgotten at once, which makes for fewer states and no others.
func (m *model) fence(n *modelState) {
	if !m.rules.noFence {
		n.endStreams()
	}
}

// fenced tells whether what a stream of attempt brings is dropped.
func (m *model) fenced(s *modelState, attempt int) bool {
	newest := attempt == int(s.attempts)-1
	return !s.live || !m.rules.noFence && (s.pub || !newest)
}

// deliver lets a piece arrive, on any stream of any attempt.
func (m *model) deliver(s modelState) {
	for a := range int(s.attempts) {
		for c := range modelChunks {
			m.deliverFirst(s, modelStep{chunk: c, attempt: a})
			for stream := range m.bounds.streams {
				if v := s.streams[a].at(modelStream(c, stream)); v != 0 {
					m.deliverLast(s, modelStep{chunk: c, attempt: a, stream: stream, version: v})
				}
			}
		}
	}
}

// deliverFirst is the arrival of the first piece of a chunk, on a stream that does not carry it already. It brings any
// version that the source has had in this stage's life, whether it was sent just now, is late, or comes once more.
func (m *model) deliverFirst(s modelState, step modelStep) {
	for s.streams[step.attempt].at(modelStream(step.chunk, step.stream)) != 0 {
		if step.stream++; step.stream == m.bounds.streams {
			return
		}
	}
	for step.version = max(s.fp, 1); step.version <= s.src; step.version++ {
		switch {
		case m.fenced(&s, step.attempt):
			step.kind = modelIgnored
			m.emit(step, s)
		case s.held(step.chunk) && !m.rules.rewrite:
			m.deliverHeld(s, step)
		default:
			m.claim(s, step)
		}
	}
}

// deliverHeld is the arrival of all of a chunk that is held. It is hashed and not written (I6), so that what happens
// between its pieces is of no interest.
func (m *model) deliverHeld(n modelState, step modelStep) {
	if m.rules.writeHeld {
		n.write(step.chunk, 0, step.version)
		n.write(step.chunk, 1, step.version)
	}
	m.emit(m.compare(&n, step), n)
}

// compare tells a duplicate of a held chunk from one that was read after a change of the source, which ends the
// attempt (I6).
func (m *model) compare(n *modelState, step modelStep) modelStep {
	step.kind = modelDuplicate
	if n.rec.at(step.chunk) != step.version {
		step.kind = modelConflict
		n.live = false
		m.fence(n)
	}
	return step
}

// claim makes a stream the owner of a chunk, which another one may lose by that (I6), and writes the first piece.
func (m *model) claim(n modelState, step modelStep) {
	step.kind = modelClaim
	if n.owner[step.chunk] != 0 {
		step.kind = modelTakeOver
	}
	n.owner[step.chunk] = modelOwner(step.attempt, step.stream)
	n.streams[step.attempt].set(modelStream(step.chunk, step.stream), step.version)
	n.write(step.chunk, 0, step.version)
	m.emit(step, n)
}

// deliverLast is the arrival of the second piece, with the hash, on a stream that has claimed the chunk. It is dropped
// where the stream has lost the chunk since (I6).
func (m *model) deliverLast(n modelState, step modelStep) {
	n.streams[step.attempt].set(modelStream(step.chunk, step.stream), 0)
	owner := n.owner[step.chunk] == modelOwner(step.attempt, step.stream)
	step.kind = modelLost
	switch {
	case m.fenced(&n, step.attempt):
		step.kind = modelIgnored
	case owner || m.rules.twoWriters && !n.held(step.chunk):
		step.kind = modelFinish
		n.write(step.chunk, 1, step.version)
		n.record(step.chunk, step.version)
		n.owner[step.chunk] = 0
	case m.rules.twoWriters:
		n.write(step.chunk, 1, step.version)
		step = m.compare(&n, step)
	}
	m.emit(step, n)
}

// groupCommit makes durable what is held, in two steps, between which anything may happen.
func (m *model) groupCommit(n modelState) {
	if !n.syncing {
		if n.rec == n.mark {
			return
		}
		n.syncing, n.snap = true, n.rec
		n.named = n.named || !m.rules.namesUnsynced
		if m.rules.markFirst {
			n.syncMark()
		} else {
			n.syncData()
		}
		m.emit(modelStep{kind: modelSyncBegin}, n)
		return
	}
	if m.rules.markLate {
		n.snap = n.rec
	}
	if m.rules.markFirst {
		n.syncData()
	} else {
		n.syncMark()
	}
	for c := range modelChunks {
		n.durable[c] = n.durable[c] || n.snap.at(c) != 0
	}
	n.syncing, n.snap = false, 0
	m.emit(modelStep{kind: modelSyncEnd}, n)
}

// commit is COMMIT of a file whose chunks are all held, after the source was looked at once more and is what it was at
// OPEN. The comparison of the roots is no step: the sender joins its root from the hashes of what it has read and of
// what the receiver said to have, so that without damage they are equal even if the file is mixed.
func (m *model) commit(n modelState) {
	if !n.whole() || n.src != n.fp && !m.rules.noFinalStat {
		return
	}
	n.syncing, n.snap = false, 0
	m.fence(&n)
	if !m.rules.renameUnsynced {
		n.syncData()
	}
	n.pub, n.sealing = true, true
	m.emit(modelStep{kind: modelCommit}, n)
}

// commitForward is COMMIT of a file that had got its name before a crash.
func (m *model) commitForward(n modelState) {
	n.sealing = true
	m.emit(modelStep{kind: modelCommitForward}, n)
}

// publish goes on from the rename.
func (m *model) publish(n modelState) {
	early := m.rules.receiptBeforeDir || m.rules.receiptBeforeLog && n.pubSynced
	var kind modelKind
	switch {
	case n.receipt == 0 && (n.log != 0 || early):
		kind = modelReceipt
		n.receipt = n.fp
	case !n.pubSynced:
		kind = modelSyncDir
		n.pubSynced = true
	default:
		kind = modelSyncLog
		n.log = n.fp
	}
	if n.log != 0 && n.receipt != 0 {
		n.sealing, n.live = false, false
	}
	m.emit(modelStep{kind: kind}, n)
}

// crash is the end of the receiver's process, or of the power. The sender goes on believing what it was told.
func (m *model) crash(n modelState) {
	n.crashes++
	n.live, n.sealing = false, false
	n.syncing, n.snap = false, 0
	n.endStreams()
	n.cold = n.fp != 0
	m.emit(modelStep{kind: modelCrash}, n)

	if n.pub && !n.pubSynced {
		k := n
		k.pub = false
		m.loseStage(k)
		n.pubSynced = true
	}
	m.loseStage(n)
}

// loseStage decides whether a power loss takes the stage's directory.
func (m *model) loseStage(n modelState) {
	if n.fp == 0 || n.named {
		m.loseChunks(n, 0)
		return
	}
	k := n
	k.named = true
	m.loseChunks(k, 0)
	n.forgetJournal()
	if !n.pub {
		n.forgetStage()
	}
	m.loseChunks(n, 0)
}

// loseChunks decides which record a power loss leaves of each chunk from this one on.
func (m *model) loseChunks(n modelState, chunk int) {
	if chunk == modelChunks {
		m.emit(modelStep{kind: modelPowerLoss}, n)
		return
	}
	for v := range uint8(modelVersions) {
		if n.recMay.has(chunk, v) {
			k := n
			k.rec.set(chunk, v)
			k.recMay.only(chunk, v)
			k.forgetUnknown(chunk)
			m.losePieces(k, chunk, 0)
		}
	}
}

// losePieces decides which bytes it leaves of each piece of chunk from this one on.
func (m *model) losePieces(n modelState, chunk, piece int) {
	if piece == modelPieces {
		m.loseChunks(n, chunk+1)
		return
	}
	i := modelPiece(chunk, piece)
	for v := range uint8(modelVersions) {
		if n.dataMay.has(i, v) {
			k := n
			k.data.set(i, v)
			k.dataMay.only(i, v)
			m.losePieces(k, chunk, piece+1)
		}
	}
}

// modelResult is what modelExplore found.
type modelResult struct {
	states int
	took   time.Duration
	taken  [modelKinds]int // how often there was a step of each kind
	broken string          // the first invariant that did not hold, "" if all did
	trace  []modelStep     // the shortest way there
}

// modelExplore visits all states breadth first, until one breaks an invariant.
func modelExplore(rules modelRules, bounds modelBounds) modelResult {
	var r modelResult
	start := time.Now()
	first := modelState{src: 1}
	first.forgetStage()
	states := []modelState{first} // in the order in which they were reached
	from := []uint32{0}           // from which, as an index
	seen := map[modelState]struct{}{first: {}}

	at := 0
	m := model{rules: rules, bounds: bounds}
	m.emit = func(step modelStep, n modelState) {
		r.taken[step.kind]++
		if _, ok := seen[n]; ok || r.broken != "" {
			return
		}
		seen[n] = struct{}{}
		states, from = append(states, n), append(from, uint32(at))
		r.broken = n.check()
	}
	for ; at < len(states) && r.broken == ""; at++ {
		m.next(states[at])
	}
	r.states, r.took = len(states), time.Since(start)
	if r.broken == "" {
		return r
	}
	for i := len(states) - 1; i != 0; i = int(from[i]) {
		r.trace = append(r.trace, m.stepBetween(states[from[i]], states[i]))
	}
	slices.Reverse(r.trace)
	return r
}

// stepBetween returns a step that leads from a to b.
func (m model) stepBetween(a, b modelState) (by modelStep) {
	m.emit = func(step modelStep, n modelState) {
		if n == b {
			by = step
		}
	}
	m.next(a)
	return by
}

func (r *modelResult) log(t *testing.T) {
	t.Helper()
	t.Logf("%d states in %v", r.states, r.took.Round(time.Millisecond))
	if r.broken != "" {
		t.Logf("%s", r.broken)
	}
	for i, step := range r.trace {
		t.Logf("%3d %v", i+1, step)
	}
}

// modelQuick tells whether there is time for a small model only.
func modelQuick() bool {
	if testing.Short() {
		return true
	}
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func TestModel(t *testing.T) {
	bounds := modelBounds{versions: 3, attempts: 3, crashes: 2, streams: 2}
	if modelQuick() {
		bounds = modelBounds{versions: 2, attempts: 2, crashes: 2, streams: 2}
	}
	r := modelExplore(modelRules{}, bounds)
	r.log(t)
	if r.broken != "" {
		t.Errorf("the design breaks %s", r.broken)
	}
	for k, n := range r.taken {
		if n == 0 {
			t.Errorf("no step %q: the model does not show what it is to show", modelKind(k))
		}
	}
}

// TestModelMutations takes one rule away at a time. Each must be missed.
func TestModelMutations(t *testing.T) {
	for _, c := range []struct {
		name   string
		broken string // the invariant
		rules  modelRules
	}{
		{"a chunk may be rewritten", "I3", modelRules{rewrite: true}},
		{"a held chunk is written to", "I3", modelRules{writeHeld: true}},
		{"a chunk has two writers after it was taken over", "I3", modelRules{twoWriters: true}},
		{"a stage is reset in place", "I3", modelRules{resetInPlace: true}},
		{"claims are believed without a re-hash after power loss", "I3", modelRules{noRehash: true}},
		{"what is held after a process crash is called durable", "I2", modelRules{heldIsDurable: true}},
		{"the MARK is synced before the data", "I3", modelRules{markFirst: true}},
		{"the MARK covers what came during the sync", "I3", modelRules{markLate: true}},
		{"the directory of the stage is not synced", "I2", modelRules{namesUnsynced: true}},
		{"there is no final stat, and the root is of what was read", "I1", modelRules{noFinalStat: true}},
		{"the data is not synced before the rename", "I1", modelRules{renameUnsynced: true}},
		{"the receipt comes before the sync of the directory", "I4", modelRules{receiptBeforeDir: true}},
		{"the receipt comes before the sync of done.log", "I4", modelRules{receiptBeforeLog: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := modelExplore(c.rules, modelBounds{versions: 2, attempts: 2, crashes: 1, streams: 2})
			r.log(t)
			if !strings.HasPrefix(r.broken, c.broken+":") {
				t.Errorf("broken is %q, want %s", r.broken, c.broken)
			}
		})
	}
}

// TestModelNoFence shows that the fence (I5) is not what keeps a file whole: while chunks are write-once and have one
// writer (I6), late frames of an older attempt are harmless. The fence is there for liveness, and to free what old
// attempts use. Without both, they do harm.
func TestModelNoFence(t *testing.T) {
	// One stream of each attempt: those of an older and of a newer one compete.
	bounds := modelBounds{versions: 2, attempts: 3, crashes: 1, streams: 1}
	if modelQuick() {
		bounds.attempts = 2
	}
	r := modelExplore(modelRules{noFence: true}, bounds)
	r.log(t)
	if r.broken != "" {
		t.Errorf("without the fence this breaks: %s", r.broken)
	}
	fenced := modelExplore(modelRules{}, bounds)
	if r.states <= fenced.states {
		t.Errorf("%d states without the fence, %d with it: no late frame was taken", r.states, fenced.states)
	}
	for _, c := range []struct {
		name  string
		rules modelRules
	}{
		{"and a chunk may be rewritten", modelRules{noFence: true, rewrite: true}},
		{"and a held chunk is written to", modelRules{noFence: true, writeHeld: true}},
		{"and a chunk has two writers", modelRules{noFence: true, twoWriters: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := modelExplore(c.rules, bounds)
			r.log(t)
			if r.broken == "" {
				t.Error("nothing breaks")
			}
		})
	}
}
