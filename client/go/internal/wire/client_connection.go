// Package wire is the client's side of the protocol, sans-IO: it takes bytes, gives messages, and
// enforces the rules that a worker must keep (SPEC §1 to §3). It never reads, writes, waits or looks
// at a clock; package mlxwire connects it to a process.
//
// # Theory of operation
//
// A ClientConnection is used by one goroutine at a time; its owner holds a lock. Receive takes a
// chunk and handles each line that the chunk completes before it returns:
//
//	bytes ─LineSplitter─▶ line ─scanToken─▶ token ───────────────▶ requestState ─▶ Sink.TakeToken
//	                           └──parse─────▶ envelope ─advance──▶ requestState ─▶ Sink.TakeReply
//
// Nearly every line is a plain token, so scanToken reads it without an allocation. Any other line
// takes the long way through encoding/json.
//
// Invariants:
//
//   - State goes from New to Greeting to Ready, and from each of them to Failed; never back.
//   - A request is in pending from Expect to its final reply or FailAll. A Sink therefore receives
//     exactly one final reply or one Fail, and nothing after it.
//   - The first offence fails the connection: nothing that the worker sends later can be trusted.
//   - Before the handshake, lines that are not messages (a banner, for example) are kept as stray
//     lines, up to a bound, for the error of a start that fails.
//
// Hazards: line, chunk and Token share memory with the reader's buffer, so they are valid during a
// call only. recent caches the request of the last token and must be cleared whenever pending
// loses an entry. A Sink must not call the connection.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Protocol is the version of the protocol that this client speaks.
const Protocol = 1

// These bounds apply to the lines before the handshake that are not messages.
const (
	maxStrayLines     = 64
	maxStrayLineBytes = 4096
)

// A Sink receives the replies to one request, in the order in which they arrive. Its methods must
// not wait.
type Sink interface {
	// TakeToken receives one token or part of a tool call, which is valid during the call only.
	TakeToken(token *Token)
	// TakeReply receives any other reply. line is valid during the call only. An error says which rule
	// the reply breaks; the request then stays pending and fails with the connection.
	TakeReply(kind string, final bool, line []byte) error
	// Fail ends a request whose final reply will not come.
	Fail(err error)
}

// State is the stage of a connection's life.
type State uint8

// A connection greets its worker, then is ready. It may fail at any time.
const (
	New State = iota
	Greeting
	Ready
	Failed
)

// A ClientConnection is a client's view of its worker: the state of the connection and the pending
// requests.
type ClientConnection struct {
	// OnEvent receives event messages. line is valid during the call only. An error says which rule the
	// event breaks.
	OnEvent func(line []byte) error

	state    State
	maxLine  int
	splitter *LineSplitter
	texts    textCache
	token    Token // passed to every Sink, so that no token is allocated
	pending  map[string]*requestState
	recent   *requestState // the request of the last token
	strays   []string
	helloID  string
}

// NewClientConnection returns a connection in the state New.
func NewClientConnection() *ClientConnection {
	return &ClientConnection{
		maxLine:  DefaultMaxLineBytes,
		splitter: NewLineSplitter(DefaultMaxLineBytes),
		pending:  make(map[string]*requestState),
	}
}

// State returns the stage of the connection's life.
func (c *ClientConnection) State() State { return c.state }

// MaxLineBytes returns how long a request may be, in bytes.
func (c *ClientConnection) MaxLineBytes() int { return c.maxLine }

// StrayLines returns the lines before the handshake that are not messages, such as a banner.
func (c *ClientConnection) StrayLines() []string { return c.strays }

// Expect makes a request pending: sink receives its replies until the final one. The caller writes the
// request.
func (c *ClientConnection) Expect(id string, replies Replies, sink Sink) {
	c.pending[id] = &requestState{id: id, replies: replies, sink: sink}
}

// ExpectHello makes hello pending and starts the handshake.
func (c *ClientConnection) ExpectHello(id string, sink Sink) {
	c.state, c.helloID = Greeting, id
	c.Expect(id, Replies{}, sink)
}

// Pending returns the sinks of the pending requests, in no order.
func (c *ClientConnection) Pending() []Sink {
	sinks := make([]Sink, 0, len(c.pending))
	for _, request := range c.pending {
		sinks = append(sinks, request.sink)
	}
	return sinks
}

// FailAll ends all pending requests with err. No Sink is called after that.
func (c *ClientConnection) FailAll(err error) {
	c.state = Failed
	pending := c.pending
	c.pending, c.recent = nil, nil
	for _, request := range pending {
		request.sink.Fail(err)
	}
}

// Receive takes bytes as they arrive and handles the lines that they complete. An error says which
// rule the worker broke; nothing that follows can be trusted then.
func (c *ClientConnection) Receive(chunk []byte) error {
	for line := range c.splitter.Feed(chunk) {
		if err := c.receiveLine(line); err != nil {
			c.state = Failed
			return err
		}
	}
	return nil
}

// End handles the end of the worker's output. A last line without 0x0A is still a line, unless it
// was cut off: that happens when a worker dies, and breaks no rule.
func (c *ClientConnection) End() error {
	line, ok := c.splitter.End()
	if !ok || !json.Valid(line.Bytes) {
		return nil
	}
	if err := c.receiveLine(line); err != nil {
		c.state = Failed
		return err
	}
	return nil
}

func (c *ClientConnection) receiveLine(line Line) error {
	if !line.TooLong {
		if id, ok := scanToken(line.Bytes, &c.token, &c.texts); ok {
			return c.takeToken(c.lookUp(id), id)
		}
	}
	message, err := c.parse(line)
	if err != nil || message == nil {
		return err
	}
	return c.take(message, line.Bytes)
}

// lookUp finds a pending request. Most tokens belong to the same request as the one before.
func (c *ClientConnection) lookUp(id []byte) *requestState {
	if c.recent == nil || c.recent.id != string(id) {
		c.recent = c.pending[string(id)]
	}
	return c.recent
}

func (c *ClientConnection) takeToken(request *requestState, id []byte) error {
	if request == nil {
		return notPending(strconv.Quote(string(id)))
	}
	if err := request.takeSeq(&c.token); err != nil {
		return err
	}
	request.sink.TakeToken(&c.token)
	return nil
}

func (c *ClientConnection) takeToolCall(request *requestState, line []byte) error {
	part, err := ReadToolCall(line)
	if err != nil {
		return fmt.Errorf("the worker sent a malformed tool call: %w", err)
	}
	if err := request.takeSeqOfCall(&part); err != nil {
		return err
	}
	request.sink.TakeToken(&part)
	return nil
}

// envelope holds the fields that every message has.
type envelope struct {
	ID    json.RawMessage `json:"id"`
	Cmd   json.RawMessage `json:"cmd"`
	Type  *string         `json:"type"`
	Final any             `json:"final"`
	Index json.RawMessage `json:"index"`
	Error json.RawMessage `json:"error"`
}

// parse reads a line's envelope. It returns nil for a line before the handshake that is not a
// message.
func (c *ClientConnection) parse(line Line) (*envelope, error) {
	if line.TooLong {
		return nil, fmt.Errorf("the worker sent a line of more than %d bytes", c.splitter.MaxLineBytes)
	}
	var message envelope
	// utf8.Valid comes first because encoding/json replaces bytes that are not UTF-8 by U+FFFD.
	if utf8.Valid(line.Bytes) && json.Unmarshal(line.Bytes, &message) == nil && isObject(line.Bytes) {
		if c.state == Ready || message.Type != nil && message.ID != nil {
			if err := checkStrict(line.Bytes); err != nil {
				return nil, err
			}
			return &message, nil
		}
		if c.state == Greeting && message.Cmd != nil && string(message.ID) == strconv.Quote(c.helloID) {
			return nil, errors.New("the program writes its input back, as `cat` does, and answers nothing")
		}
		if c.state == Greeting && isString(message.Error) {
			return nil, fmt.Errorf("the worker answered hello in the older, unversioned wire: %.200s", message.Error)
		}
	}
	if c.state != Greeting || len(c.strays) >= maxStrayLines {
		return nil, fmt.Errorf("the worker sent a line that is not a message: %.80q", line.Bytes)
	}
	c.strays = append(c.strays, string(line.Bytes[:min(len(line.Bytes), maxStrayLineBytes)]))
	return nil, nil
}

func (c *ClientConnection) take(message *envelope, line []byte) error {
	if message.Type == nil {
		return fmt.Errorf("the worker sent a message without a `type`: %.200q", line)
	}
	kind := *message.Type
	if kind == "event" {
		return c.takeEvent(message, line)
	}
	if message.ID == nil || string(message.ID) == "null" {
		if kind != "error" || message.ID == nil {
			return fmt.Errorf("the worker sent a message of type %.200q without an id: %.200q", kind, line)
		}
		return fmt.Errorf("the worker could not read a request of this client: %.200s", message.Error)
	}
	var id string
	if json.Unmarshal(message.ID, &id) != nil || c.pending[id] == nil {
		return notPending(string(message.ID))
	}
	return c.reply(c.pending[id], kind, message, line)
}

func (c *ClientConnection) takeEvent(message *envelope, line []byte) error {
	switch {
	case string(message.ID) != "null":
		return fmt.Errorf("the worker sent an event without `\"id\": null`: %.200q", line)
	case message.Final != nil && message.Final != false:
		return fmt.Errorf("the worker sent an event with the wrong `final`: %.200q", line)
	case c.OnEvent == nil:
		return nil
	}
	return c.OnEvent(line)
}

func (c *ClientConnection) reply(request *requestState, kind string, message *envelope, line []byte) error {
	if kind == "error" && hasCode(message.Error, "duplicate_id") {
		return fmt.Errorf("the worker refused id %q because it was used twice", request.id)
	}
	if err := request.advance(kind, message.Final == true); err != nil {
		return err
	}
	if kind == "token" {
		var err error
		if c.token, err = ReadToken(line); err != nil {
			return fmt.Errorf("the worker sent a malformed token: %w", err)
		}
		return c.takeToken(request, nil)
	}
	if kind == "tool_call" {
		return c.takeToolCall(request, line)
	}
	if kind == "item" {
		if err := request.takeItem(message.Index); err != nil {
			return err
		}
	}
	final := request.phase == ended
	if final && request.id == c.helloID {
		if err := c.greeted(kind, line); err != nil {
			return err // hello stays pending and fails with the connection
		}
	}
	if err := request.sink.TakeReply(kind, final, line); err != nil {
		return err
	}
	if final {
		delete(c.pending, request.id)
		c.recent = nil
	}
	return nil
}

// greeted handles the answer to hello.
func (c *ClientConnection) greeted(kind string, line []byte) error {
	if kind != "result" {
		c.state = Failed
		return nil
	}
	var hello struct {
		Protocol int `json:"protocol"`
		Limits   struct {
			MaxLineBytes int `json:"max_line_bytes"`
		} `json:"limits"`
	}
	if err := json.Unmarshal(line, &hello); err != nil {
		return fmt.Errorf("the worker sent a malformed answer to hello: %w", err)
	}
	if hello.Protocol != Protocol {
		return fmt.Errorf("the worker chose protocol %d; this client offered %d", hello.Protocol, Protocol)
	}
	if limit := hello.Limits.MaxLineBytes; limit > 0 {
		c.maxLine = limit
		c.splitter.MaxLineBytes = max(limit, c.splitter.MaxLineBytes)
	}
	c.state = Ready
	return nil
}

func notPending(id string) error {
	return fmt.Errorf("the worker sent a reply with the id %.200s, which is not pending", id)
}

func hasCode(body json.RawMessage, code string) bool {
	var failure struct {
		Code string `json:"code"`
	}
	return json.Unmarshal(body, &failure) == nil && failure.Code == code
}

func isObject(line []byte) bool { return firstByte(line) == '{' }

func isString(value json.RawMessage) bool { return firstByte(value) == '"' }

func firstByte(text []byte) byte {
	for _, b := range text {
		if b != ' ' && b != '\t' && b != '\r' {
			return b
		}
	}
	return 0
}
