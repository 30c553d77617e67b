package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Protocol is the version of the protocol that this client speaks.
const Protocol = 1

// maxStrayLines bounds what may come before the handshake that is no message.
const (
	maxStrayLines     = 64
	maxStrayLineBytes = 4096
)

// A Sink takes the replies to one request. It is called in the order in which they came and
// must not wait.
type Sink interface {
	// TakeToken takes one token, which is valid during the call only.
	TakeToken(token *Token)
	// TakeReply takes any other reply; line is valid during the call only.
	TakeReply(kind string, final bool, line []byte)
	// Fail ends a request whose final will not come.
	Fail(err error)
}

// State is where a connection is in its life.
type State uint8

// A connection says hello, is answered, and may be broken off at any time.
const (
	New State = iota
	Greeting
	Ready
	Failed
)

// ClientConnection is what a client knows of its worker. One goroutine at a time.
type ClientConnection struct {
	// OnEvent takes what the worker says unasked; line is valid during the call only.
	OnEvent func(line []byte)

	state    State
	maxLine  int
	splitter *LineSplitter
	texts    textCache
	token    Token // the one that is handed on, so that none is allocated
	pending  map[string]*requestState
	recent   *requestState // the one that the last token was for
	strays   []string
	helloID  string
}

// NewClientConnection returns the end of a connection on which nothing has been said yet.
func NewClientConnection() *ClientConnection {
	return &ClientConnection{
		maxLine:  DefaultMaxLineBytes,
		splitter: NewLineSplitter(DefaultMaxLineBytes),
		pending:  make(map[string]*requestState),
	}
}

// State is where the connection is in its life.
func (c *ClientConnection) State() State { return c.state }

// MaxLineBytes is how long a request may be.
func (c *ClientConnection) MaxLineBytes() int { return c.maxLine }

// StrayLines are the lines before the handshake that are no messages, such as a banner.
func (c *ClientConnection) StrayLines() []string { return c.strays }

// Expect makes id pending: its replies go to sink until its final has come. The caller writes
// the request.
func (c *ClientConnection) Expect(id string, sink Sink) {
	c.pending[id] = &requestState{id: id, sink: sink}
}

// ExpectHello is Expect for the handshake.
func (c *ClientConnection) ExpectHello(id string, sink Sink) {
	c.state, c.helloID = Greeting, id
	c.Expect(id, sink)
}

// Pending are the sinks of all whose final is due, in no order.
func (c *ClientConnection) Pending() []Sink {
	sinks := make([]Sink, 0, len(c.pending))
	for _, request := range c.pending {
		sinks = append(sinks, request.sink)
	}
	return sinks
}

// FailAll ends all that is pending; nothing is handed on any more.
func (c *ClientConnection) FailAll(err error) {
	c.state = Failed
	pending := c.pending
	c.pending, c.recent = nil, nil
	for _, request := range pending {
		request.sink.Fail(err)
	}
}

// Receive takes bytes as they arrive and hands on the messages that they complete. An error is
// a worker's offence; nothing that follows can be trusted then.
func (c *ClientConnection) Receive(chunk []byte) error {
	for line := range c.splitter.Feed(chunk) {
		if err := c.receiveLine(line); err != nil {
			c.state = Failed
			return err
		}
	}
	return nil
}

// End takes the end of the worker's output: a last line without its end is still a line. One
// that was cut off tells of a death, which is no offence.
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

// lookUp finds a pending request; most tokens are for the same as the one before.
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

// envelope is what every message has.
type envelope struct {
	ID    json.RawMessage `json:"id"`
	Type  *string         `json:"type"`
	Final any             `json:"final"`
	Error json.RawMessage `json:"error"`
}

// parse reads a line's envelope; nil for a line before the handshake that is no message.
func (c *ClientConnection) parse(line Line) (*envelope, error) {
	if line.TooLong {
		return nil, fmt.Errorf("a line has more than %d bytes", c.splitter.MaxLineBytes)
	}
	var message envelope
	// encoding/json would read U+FFFD where the bytes are no UTF-8.
	if utf8.Valid(line.Bytes) && json.Unmarshal(line.Bytes, &message) == nil && isObject(line.Bytes) {
		if c.state == Ready || message.Type != nil && message.ID != nil {
			return &message, nil
		}
		if c.state == Greeting && isString(message.Error) {
			return nil, fmt.Errorf("the worker answered hello in the older, unversioned wire: %.200s", message.Error)
		}
	}
	if c.state != Greeting || len(c.strays) >= maxStrayLines {
		return nil, fmt.Errorf("a line is no message: %.80q", line.Bytes)
	}
	c.strays = append(c.strays, string(line.Bytes[:min(len(line.Bytes), maxStrayLineBytes)]))
	return nil, nil
}

func (c *ClientConnection) take(message *envelope, line []byte) error {
	kind := ""
	if message.Type != nil {
		kind = *message.Type
	}
	if len(message.ID) == 0 || string(message.ID) == "null" {
		if kind == "event" {
			if c.OnEvent != nil {
				c.OnEvent(line)
			}
			return nil
		}
		return fmt.Errorf("the worker could not read a request of ours: %.200s", message.Error)
	}
	var id string
	if json.Unmarshal(message.ID, &id) != nil || c.pending[id] == nil {
		return notPending(string(message.ID))
	}
	return c.reply(c.pending[id], kind, message, line)
}

func (c *ClientConnection) reply(request *requestState, kind string, message *envelope, line []byte) error {
	if kind == "error" && hasCode(message.Error, "duplicate_id") {
		return fmt.Errorf("the worker says that id %q was used twice", request.id)
	}
	if err := request.advance(kind, message.Final == true); err != nil {
		return err
	}
	if kind == "token" {
		var err error
		if c.token, err = ReadToken(line); err != nil {
			return fmt.Errorf("a token is malformed: %w", err)
		}
		return c.takeToken(request, nil)
	}
	final := request.phase == ended
	if final {
		if request.id == c.helloID {
			if err := c.greeted(kind, line); err != nil {
				return err // hello stays pending, and fails with the connection
			}
		}
		delete(c.pending, request.id)
		c.recent = nil
	}
	request.sink.TakeReply(kind, final, line)
	return nil
}

// greeted takes the answer to hello.
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
		return fmt.Errorf("the answer to hello is malformed: %w", err)
	}
	if hello.Protocol != Protocol {
		return fmt.Errorf("the worker chose protocol %d, which was not offered", hello.Protocol)
	}
	if limit := hello.Limits.MaxLineBytes; limit > 0 {
		c.maxLine = limit
		c.splitter.MaxLineBytes = max(limit, c.splitter.MaxLineBytes)
	}
	c.state = Ready
	return nil
}

func notPending(id string) error {
	return fmt.Errorf("a reply has the id %.200s, which is not pending", id)
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
