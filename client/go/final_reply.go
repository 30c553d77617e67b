package mlxwire

import "fmt"

// This file judges the final replies to a request.

// checkFinal reads a final reply. failure is the error that it reports; err says which rule of the wire
// it breaks. A final of a type that this client does not know ends its request alone (SPEC §2).
func (r *request) checkFinal(kind string, line []byte) (failure *Error, err error) {
	switch kind {
	case "error":
		if failure, err = errorFromReply(line); err == nil {
			failure.Message = nameOptions(failure.Message, r.fields)
		}
	case "done":
		var done Done
		if done, err = decodeReply[Done](line); err == nil && kind != r.command.Final && done.FinishReason != FinishCancelled {
			err = r.wrongFinal(kind)
		}
	case "result":
		if kind != r.command.Final {
			err = r.wrongFinal(kind)
		}
	default:
		failure = newError(ErrProtocolViolation, "%v; the worker may be newer than this client, so update the client", r.wrongFinal(kind))
	}
	return failure, err
}

func (r *request) wrongFinal(kind string) error {
	return fmt.Errorf("the worker ended `%s` with `%s` where `%s` was due", r.command.Name, kind, r.command.Final)
}

// cancelledElsewhere returns the error of a request that ended as cancelled although its caller
// did not leave it.
func (r *request) cancelledElsewhere() error {
	if r.conn.isClosing() {
		return cutByClose()
	}
	return newError(ErrCancelled, "another call cancelled this `%s`; send it again if its answer is still needed", r.command.Name)
}
