/**
 * A worker for bench/clients/typescript_client.mjs: it encodes every token line before it writes the
 * first, so that only the client is measured. `node bench/clients/token_source.mjs TOKENS [windows]`;
 * a `generate` whose prompt is N waits until there are N, which share the tokens. With
 * "windows" a stream is sent no further than its window and the credit that comes.
 */
import { Buffer } from "node:buffer";

const TURN = 4096; // lines of one stream before the next has its turn
const [tokens, windows] = [Number(process.argv[2]), process.argv[3] === "windows"];

class Stream {
  sent = 0;

  constructor(request, count) {
    this.id = request.id;
    this.allowed = windows ? request.window : Infinity;
    const lines = Array.from({ length: count }, (_, seq) =>
      encode({ id: this.id, type: "token", seq, token: " word", token_id: 4711 }),
    );
    this.bytes = Buffer.from(lines.join(""));
    this.lineEnds = new Float64Array(count + 1);
    lines.forEach((line, seq) => {
      this.lineEnds[seq + 1] = this.lineEnds[seq] + line.length;
    });
  }

  get count() {
    return this.lineEnds.length - 1;
  }

  /** Writes what may be written of one turn; whether that was anything. */
  send() {
    const upTo = Math.min(this.count, this.allowed, this.sent + TURN);
    if (this.sent >= upTo) return false;
    process.stdout.write(this.bytes.subarray(this.lineEnds[this.sent], this.lineEnds[upTo]));
    this.sent = upTo;
    if (this.sent === this.count) this.end("length");
    return true;
  }

  end(reason) {
    const done = { done: true, finish_reason: reason, tokens_generated: this.sent, metrics: {} };
    reply(this, { type: "done", final: true, ...done });
    streams.delete(this.id);
  }
}

const LOADED = {
  ...{ ok: true, load_seconds: 0, model_type: "", vocab_size: 1, layers: 1, hidden_size: 1 },
  ...{ context_len: 1, quant_bits: 0, quant_group: 0, parameters: 1, weight_bytes: 1 },
  ...{ path: "", adapter_path: null, chat_template: true, parallel_slots: 1, capabilities: {} },
};

const waiting = [];
const streams = new Map();

const commands = {
  hello: (request) =>
    reply(request, {
      ...{ type: "result", final: true, protocol: 1, events: [] },
      worker: { name: "token_source", version: "1", pid: process.pid, engine: "mock" },
      capabilities: { window: windows },
      limits: { max_line_bytes: 1 << 24, max_inflight: 4096 },
    }),
  load: (request) => reply(request, { type: "result", final: true, ...LOADED }),
  generate: (request) => {
    waiting.push(request);
    const together = Number(request.prompt);
    if (waiting.length < together) return;
    const begun = waiting.splice(0).map((each) => new Stream(each, Math.floor(tokens / together)));
    for (const stream of begun) streams.set(stream.id, stream);
    reply(request, { type: "progress", stage: "prefill", done: 1, total: 1 });
    sendAll(begun);
  },
  credit: (request) => {
    reply(request, { type: "result", final: true, credit: request.n });
    const stream = streams.get(request.target);
    if (stream === undefined) return;
    stream.allowed += request.n;
    sendAll([stream]);
  },
  cancel: (request) => {
    reply(request, { type: "result", final: true, outcome: "accepted", cancelled: 1 });
    streams.get(request.target)?.end("cancelled");
  },
  quit: (request) => {
    reply(request, { type: "result", final: true, ok: true });
    process.exit();
  },
};

function sendAll(ready) {
  while (ready.filter((stream) => stream.send()).length > 0);
}

function reply(request, fields) {
  process.stdout.write(encode({ id: request.id, ...fields }));
}

function encode(message) {
  return `${JSON.stringify(message)}\n`;
}

let partial = "";
process.stdin.setEncoding("utf8").on("data", (chunk) => {
  const lines = (partial + chunk).split("\n");
  partial = lines.pop();
  for (const line of lines) {
    const request = JSON.parse(line);
    commands[request.cmd]?.(request);
  }
});
