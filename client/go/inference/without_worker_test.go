//go:build nomlxlm

package inference

import "testing"

func TestTheTagLeavesTheWorkerOut(t *testing.T) {
	if names := List(); len(names) != 0 {
		t.Errorf("the backends %v are registered", names)
	}
}
