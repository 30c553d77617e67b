package process

import "os"

// ExitState is how a process ended: with a code, or by a signal.
type ExitState struct {
	Code   int    // -1 where a signal ended it
	Signal int    // 0 where none did
	Name   string // the signal's, such as "killed"
}

func exitState(state *os.ProcessState) ExitState {
	if state == nil {
		return ExitState{Code: -1}
	}
	number, name := endingSignal(state)
	return ExitState{Code: state.ExitCode(), Signal: number, Name: name}
}
