package mlxwire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

// burst is a worker that encodes all lines of a stream before it writes the first, and sends as many
// as the window and the credit allow. The prompt is the number of tokens.
func burst() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, longestLine)
	out := make(chan []byte, 64)
	go func() {
		for block := range out {
			_, _ = os.Stdout.Write(block)
		}
	}()
	streams := make(map[string]*burstStream)
	for input.Scan() {
		var request scriptedRequest
		if json.Unmarshal(input.Bytes(), &request) != nil {
			os.Exit(1)
		}
		switch request.Cmd {
		case "hello":
			out <- reply(request.ID, helloFieldsOf("mock", windows, longestLine))
		case "load":
			out <- reply(request.ID, loadedFields)
		case "generate":
			count, _ := strconv.Atoi(request.Prompt)
			stream := newBurstStream(request.ID, count)
			streams[request.ID] = stream
			stream.send(request.Window, out)
		case "credit":
			out <- reply(request.ID, fmt.Sprintf(`"credit":%d`, request.N))
			if stream := streams[request.Target]; stream != nil {
				stream.send(request.N, out)
			}
		case "quit":
			out <- reply(request.ID, `"ok":true`)
			close(out)
			return
		default:
			out <- reply(request.ID, `"outcome":"unknown"`)
		}
	}
}

// longestLine is longer than any line of these tests.
const longestLine = 1 << 20

func reply(id, fields string) []byte {
	return fmt.Appendf(nil, resultLine+"\n", id, fields)
}

// A burstStream holds all lines of a stream, and how many of them were sent.
type burstStream struct {
	id    string
	lines []byte
	ends  []int
	sent  int
}

func newBurstStream(id string, count int) *burstStream {
	s := &burstStream{id: id}
	for seq := range count {
		s.lines = fmt.Appendf(s.lines, `{"type":"token","id":%q,"seq":%d,"token":" word%d","token_id":%d}`+"\n",
			id, seq, seq%500, 4000+seq%500)
		s.ends = append(s.ends, len(s.lines))
	}
	return s
}

func (s *burstStream) send(n int, out chan<- []byte) {
	from, to := s.sent, min(s.sent+n, len(s.ends))
	if from == len(s.ends) {
		return
	}
	s.sent = to
	begin := 0
	if from > 0 {
		begin = s.ends[from-1]
	}
	out <- s.lines[begin:s.ends[to-1]]
	if to == len(s.ends) {
		out <- fmt.Appendf(nil, doneLine+"\n", s.id, "length")
	}
}
