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
// Many goroutines may use a value of any type at once, except a stream, which has one consumer.
// The worker decodes requests that run at the same time together. Leaving a range early cancels
// the request in the worker. So does the end of its context; the stream then ends with the
// context's error. Every other failure is an *Error with a Code.
package mlxwire

// Version is the version of this client. The client sends it in hello, and the worker logs it.
const Version = "0.1.0"
