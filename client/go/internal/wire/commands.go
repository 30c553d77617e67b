package wire

// A Lane says where a worker serves a command (protocol/schema, "x-commands").
type Lane string

// The lanes of a worker.
const (
	AtOnce       Lane = "at_once"       // on the thread that reads stdin
	Prepare      Lane = "prepare"       // in order of arrival, where prompts are tokenized
	BetweenSteps Lane = "between_steps" // between two steps of the engine
	Alone        Lane = "alone"         // while no other request runs
	Sequences    Lane = "sequences"     // decoded together with other sequences
	OnePass      Lane = "one_pass"      // one forward pass for each prompt
	Background   Lane = "background"    // in a process of its own, while all others go on
	Files        Lane = "files"         // on a thread that reads model folders, while all others go on
)

// A Command is one row of the table of commands. Commands are compared by their address.
type Command struct {
	Name string
	// Final is the type of the reply that ends the command when it succeeds: "result" or "done".
	Final string
	// NeedsModel is true if the worker refuses the command while no model is loaded.
	NeedsModel bool
	Lane       Lane
	// Actions names the lane of each action that has another lane than its command.
	Actions map[string]Lane
	// Blameless is true for commands that only end or feed other requests. The worker computes
	// nothing for them, so the client never blames them for a crash. This column is the client's
	// own; the schema has none for it.
	Blameless bool
}

const (
	result = "result"
	done   = "done"
)

// The commands of the protocol. A test compares them with protocol/schema.
var (
	Hello    = &Command{Name: "hello", Final: result, Lane: AtOnce}
	Load     = &Command{Name: "load", Final: result, Lane: Alone}
	Unload   = &Command{Name: "unload", Final: result, Lane: Alone, NeedsModel: true}
	Info     = &Command{Name: "info", Final: result, Lane: AtOnce, NeedsModel: true}
	Generate = &Command{Name: "generate", Final: done, Lane: Sequences, NeedsModel: true}
	Chat     = &Command{Name: "chat", Final: done, Lane: Sequences, NeedsModel: true}
	Batch    = &Command{Name: "batch", Final: done, Lane: Sequences, NeedsModel: true}
	Classify = &Command{Name: "classify", Final: done, Lane: OnePass, NeedsModel: true}
	Cache    = &Command{
		Name: "cache", Final: result, Lane: BetweenSteps, NeedsModel: true,
		Actions: map[string]Lane{"warm": Sequences},
	}
	Tokenize   = &Command{Name: "tokenize", Final: result, Lane: Prepare, NeedsModel: true}
	Detokenize = &Command{Name: "detokenize", Final: result, Lane: Prepare, NeedsModel: true}
	Inspect    = &Command{Name: "inspect", Final: result, Lane: OnePass, NeedsModel: true}
	Render     = &Command{Name: "render", Final: result, Lane: Prepare, NeedsModel: true}
	Embed      = &Command{Name: "embed", Final: done, Lane: OnePass, NeedsModel: true}
	Rerank     = &Command{Name: "rerank", Final: result, Lane: OnePass, NeedsModel: true}
	Score      = &Command{Name: "score", Final: done, Lane: OnePass, NeedsModel: true}
	Discover   = &Command{Name: "discover", Final: done, Lane: Files}
	Fit        = &Command{Name: "fit", Final: result, Lane: Files}
	Adapter    = &Command{Name: "adapter", Final: result, Lane: BetweenSteps, NeedsModel: true}
	Train      = &Command{Name: "train", Final: result, Lane: Background, NeedsModel: true}
	Evaluate   = &Command{Name: "evaluate", Final: result, Lane: Background, NeedsModel: true}
	Memory     = &Command{Name: "memory", Final: result, Lane: BetweenSteps}
	Metrics    = &Command{Name: "metrics", Final: result, Lane: AtOnce}
	Cancel     = &Command{Name: "cancel", Final: result, Lane: AtOnce, Blameless: true}
	Credit     = &Command{Name: "credit", Final: result, Lane: AtOnce, Blameless: true}
	Quit       = &Command{Name: "quit", Final: result, Lane: AtOnce, Blameless: true}
)

// Commands lists the table.
var Commands = []*Command{
	Hello, Load, Unload, Info, Generate, Chat, Batch, Classify, Cache, Tokenize, Detokenize, Inspect,
	Render, Embed, Rerank, Score, Discover, Fit, Adapter, Train, Evaluate, Memory, Metrics, Cancel, Credit, Quit,
}
