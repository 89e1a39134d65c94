package sink

// Done returns the receipt of a transfer that this owner published at p before, as long as done.log remembers it.
func (v *View) Done(transfer [16]byte, p Path) (receipt []byte, ok bool) {
	if v.need("put", Put) != nil || !v.d.o.KeepDoneLog {
		return nil, false
	}
	receipt, ok, err := v.d.done.find(transfer, stageIDOf(v.owner, &Spec{Path: p}).key)
	return receipt, ok && err == nil
}
