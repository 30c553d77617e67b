//go:build nomlxlm

package inference

import "testing"

func TestTheTagLeavesTheWorkerOut(t *testing.T) {
	if names := List(); len(names) != 0 {
		t.Errorf("registered: %v", names)
	}
}
