// Package mlxwire runs a language model in a child process: it spawns a worker, loads a model
// and streams its tokens over a pair of pipes.
//
//	w, err := mlxwire.Start(ctx)
//	if err != nil { … }
//	defer w.Close()
//	m, err := w.Load(ctx, "testdata/tiny")
//	if err != nil { … }
//	for token, err := range m.Chat(ctx, mlxwire.UserTurn("What is 2 + 3?"), mlxwire.WithMaxTokens(32)) {
//		if err != nil { … }
//		fmt.Print(token.Text)
//	}
//
// Every type may be used by many goroutines at once, but for a stream, which is for one
// consumer. Requests that run together are decoded together. Leaving a range early cancels the
// request in the worker, and so does the end of its context, whose own error comes back then.
// All other failures are an *Error with a Code.
package mlxwire

// Version is this client's; the worker logs it.
const Version = "0.1.0"
