//go:build !nomlxlm

package inference

import (
	"errors"
	"testing"
)

func TestAFailureStaysUntilALaterStreamSucceeds(t *testing.T) {
	var last streamErr
	failure, other := errors.New("failure"), errors.New("other")
	expect := func(when string, want error) {
		t.Helper()
		if got := last.last(); !errors.Is(got, want) || (want == nil) != (got == nil) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	expect("before any", nil)
	beside, failing := last.begin(), last.begin()
	failing(failure)
	expect("after a failure", failure)
	after := last.begin()
	expect("when another begins", failure)
	beside(nil)
	expect("when one ends well that ran beside it", failure)
	after(nil)
	expect("when one ends well that began after it", nil)

	first, second := last.begin(), last.begin()
	first(failure)
	second(other)
	expect("after two failures", other)
	last.begin()(nil)
	expect("after the next", nil)
}

func TestTheRecordsOfGoroutinesAreBounded(t *testing.T) {
	var errs streamErrs
	failure := errors.New("failure")
	errs.begin(goroutineID())(failure)
	for goroutine := range uint64(10 * maxGeneration) {
		errs.of(1_000_000 + goroutine)
	}
	if held := len(errs.recent) + len(errs.older); held > 2*maxGeneration {
		t.Errorf("%d goroutines are held", held)
	}
	if !errors.Is(errs.last(), failure) {
		t.Error("a goroutine that is forgotten does not get the model's failure")
	}
}

func TestGoroutinesHaveDifferentNumbers(t *testing.T) {
	other := make(chan uint64)
	go func() { other <- goroutineID() }()
	if own := goroutineID(); own == 0 || own != goroutineID() || own == <-other {
		t.Errorf("the numbers are %d and another", own)
	}
}
