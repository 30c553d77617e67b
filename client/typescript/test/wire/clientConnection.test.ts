import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { InvalidParams, MessageTooLarge } from "../../src/errors.js";
import {
  ClientConnection,
  MAX_STRAY_LINES,
  STRAY_LINE_BYTES,
} from "../../src/wire/clientConnection.js";
import { DEFAULT_MAX_LINE_BYTES } from "../../src/wire/framing.js";
import type { JsonObject } from "../../src/wire/json.js";
import { Offence } from "../../src/wire/requestState.js";

const HELLO = { require: [], events: [] };
const GREETING = {
  type: "result",
  id: "r1",
  final: true,
  protocol: 1,
  limits: { max_line_bytes: 1024, max_inflight: 4 },
};

/** Make a connection whose owners are names, and which notes as text what its listener hears. */
function connect(greeting: object | null = GREETING) {
  const heard: string[] = [];
  const connection = new ClientConnection<string>({
    tokenReceived: (owner, token) => heard.push(`${owner}: token ${token.text}`),
    replyReceived: (owner, message, ended) =>
      heard.push(`${owner}: ${message.type}${ended ? ", ended" : ""}`),
    requestEnded: () => undefined,
    eventReceived: (message) => heard.push(`event ${message.event}`),
  });
  const say = (...messages: (object | string)[]): void => {
    const lines = messages.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
    connection.receive(Buffer.from(`${lines.join("\n")}\n`));
  };
  connection.hello("r1", HELLO, "hello");
  if (greeting !== null) {
    say(greeting);
    heard.length = 0;
  }
  const request = (owner: string, fields: JsonObject = {}, command = "generate") => {
    const id = `r${connection.inFlight + 2}`;
    return { id, line: connection.request(id, command, fields, owner) };
  };
  return { connection, heard, say, request };
}

const token = (id: string, seq: number, more: object = {}) => ({
  ...{ id, type: "token", seq, token: `t${seq}`, token_id: seq },
  ...more,
});
const done = (id: string) => ({ id, type: "done", final: true, done: true });
const failed = (id: string | null, code: string) => ({
  ...{ id, type: "error", final: true },
  error: { code, message: "m", retryable: false, data: {} },
});

suite("a request", () => {
  test("is one line with an id of its own", () => {
    const { connection, request } = connect();
    const first = request("a", { prompt: "a\nb" });
    const second = request("b", {}, "info");
    assert.equal(first.line.indexOf(0x0a), first.line.length - 1);
    assert.deepEqual(JSON.parse(first.line.toString()), {
      id: first.id,
      cmd: "generate",
      prompt: "a\nb",
    });
    assert.notEqual(first.id, second.id);
    assert.deepEqual(connection.owners(), ["a", "b"]);
  });

  test("may have as many bytes as the worker accepts, and not one more", () => {
    const { connection, request } = connect();
    const frame = request("a", { prompt: "" }).line.length - 1;
    const room = GREETING.limits.max_line_bytes - frame;
    request("b", { prompt: "x".repeat(room) });
    assert.throws(
      () => request("c", { prompt: "x".repeat(room + 1) }),
      (error) => error instanceof MessageTooLarge && error.data.max_line_bytes === 1024,
    );
    assert.throws(() => request("d", { prompt: "é".repeat(room / 2 + 1) }), MessageTooLarge);
    assert.deepEqual(connection.owners(), ["a", "b"]);
  });

  test("with a lone surrogate is not sent", () => {
    const { connection, request } = connect();
    assert.throws(() => request("a", { prompt: "\ud83d" }), InvalidParams);
    assert.equal(connection.inFlight, 0);
  });
});

suite("replies", () => {
  test("reach the owner of their request, in whatever order requests end", () => {
    const { connection, heard, say, request } = connect();
    const a = request("a").id;
    const b = request("b").id;
    say(token(a, 0), token(b, 0), done(b), token(a, 1, { flush: true }), done(a));
    assert.deepEqual(heard, [
      ...["a: token t0", "b: token t0", "b: done, ended"],
      ...["a: token t1", "a: done, ended"],
    ]);
    assert.equal(connection.inFlight, 0);
  });

  test("of a batch count their tokens for each prompt", () => {
    const { heard, say, request } = connect();
    const { id } = request("a", { prompts: ["x", "y"], stream: true }, "batch");
    say(token(id, 0, { index: 1 }), token(id, 0, { index: 0 }), token(id, 1, { index: 1 }));
    assert.deepEqual(heard, ["a: token t0", "a: token t0", "a: token t1"]);
  });

  test("of an unknown type are ignored, and end their request if they are final", () => {
    const { connection, heard, say, request } = connect();
    const { id } = request("a");
    say({ id, type: "hint", final: false }, token(id, 0), { id, type: "verdict", final: true });
    assert.deepEqual(heard, ["a: hint", "a: token t0", "a: verdict, ended"]);
    assert.equal(connection.inFlight, 0);
  });

  test("may be longer than the lines that the worker accepts", () => {
    const { heard, say } = connect();
    say({ id: null, type: "event", event: "long", data: { text: "x".repeat(2000) } });
    assert.deepEqual(heard, ["event long"]);
  });

  test("without a request are events", () => {
    const { heard, say } = connect();
    say({ id: null, type: "event", event: "heartbeat", data: {} });
    assert.deepEqual(heard, ["event heartbeat"]);
  });

  test("without a line end count at the end of the stream, and half a reply does not", () => {
    for (const [cut, wanted] of [
      [0, ["a: done, ended"]],
      [1, []],
    ] as const) {
      const { connection, heard, request } = connect();
      const { id } = request("a");
      const line = Buffer.from(JSON.stringify(done(id)));
      connection.receive(line.subarray(0, line.length - cut));
      connection.receiveEnd();
      assert.deepEqual(heard, wanted);
    }
  });
});

suite("an offence is", () => {
  const id = "r2";
  const offences: Record<string, (object | string)[]> = {
    "a line that is no JSON": ["{"],
    "a line that is no object": ["[]"],
    "a line that is null": ["null"],
    "a number that is none": [`{"id":"${id}","type":"progress","done":NaN}`],
    "a lone surrogate": [`{"id":"${id}","type":"token","seq":0,"token":"\\ud800","token_id":1}`],
    "a byte order mark": [`\ufeff${JSON.stringify(done(id))}`],
    "a line past the limit": [`"${"x".repeat(16 * 1024 * 1024)}"`],
    "an id that is not pending": [done("r9")],
    "an id that is no string": [{ ...done(id), id: 2 }],
    "no id": [{ type: "done", final: true }],
    "an event without an id": [{ type: "event", event: "heartbeat", data: {} }],
    "an error about an id that could not be read": [failed(null, "parse_error")],
    "a reply without a type": [{ id, final: false }],
    "a final without a type": [{ id, final: true }],
    "a type that is no string": [{ id, type: 5 }],
    "a number beyond a double": [`{"id":"${id}","type":"progress","done":1e400}`],
    "a token of another prompt": [token(id, 0, { index: 1 })],
    "a token of a prompt before the first": [token(id, 0, { index: -1 })],
    "a token whose index is a text": [token(id, 0, { index: "0" })],
    "an item of another prompt": [{ id, type: "item", index: 1 }],
    "a gap in the tokens": [token(id, 0), token(id, 2)],
    "a token that comes twice": [token(id, 0), token(id, 0)],
    "a token without its text": [{ id, type: "token", seq: 0, token_id: 1 }],
    "a token that is final": [token(id, 0, { final: true })],
    "an end that is not marked as final": [{ ...done(id), final: false }],
    "a second final": [done(id), done(id)],
    "a token after the final": [done(id), token(id, 0)],
    "a result after tokens": [token(id, 0), { id, type: "result", final: true }],
    "the word that an id was used twice": [failed(id, "duplicate_id")],
  };
  for (const [name, messages] of Object.entries(offences)) {
    test(name, () => {
      const { say, request } = connect();
      assert.equal(request("a").id, id);
      assert.throws(() => say(...messages), Offence);
    });
  }
});

suite("an offence in a batch of two is", () => {
  const id = "r2";
  const item = (index: unknown) => ({ id, type: "item", index });
  const offences: Record<string, object[]> = {
    "a token without an index": [token(id, 0)],
    "a plain token after one with an index": [token(id, 0, { index: 0 }), token(id, 0)],
    "a token of a third prompt": [token(id, 0, { index: 2 })],
    "a token of half a prompt": [token(id, 0, { index: 0.5 })],
    "a gap in the tokens of one prompt": [token(id, 0, { index: 1 }), token(id, 2, { index: 1 })],
    "an item without an index": [item(undefined)],
    "an item of a third prompt": [item(2)],
    "an item that comes twice": [item(1), item(1)],
  };
  for (const [name, messages] of Object.entries(offences)) {
    test(name, () => {
      const { say, request } = connect();
      request("a", { prompts: ["x", "y"], stream: true }, "batch");
      assert.throws(() => say(...messages), Offence);
    });
  }

  test("no item of each prompt, in any order", () => {
    const { heard, say, request } = connect();
    request("a", { prompts: ["x", "y"], stream: true }, "batch");
    say(item(1), item(0), done(id));
    assert.equal(heard.length, 3);
  });
});

test("a token of the first prompt is one of a request without prompts too", () => {
  const { heard, say, request } = connect();
  const { id } = request("a");
  say(token(id, 0, { index: 0 }), token(id, 1), token(id, 2, { index: null }));
  assert.equal(heard.length, 3);
});

test("an error about a request that could not be read tells what the worker said of it", () => {
  const { say } = connect();
  const unread = /could not read a request of ours: \{"code":"parse_error"/;
  assert.throws(() => say(failed(null, "parse_error")), unread);
  const endless = failed(null, "x".repeat(1000));
  assert.throws(
    () => say(endless),
    (error) => (error as Error).message.length < 300,
  );
});

test("a token of no request is not taken for word of a request that could not be read", () => {
  const { say } = connect();
  assert.throws(() => say({ ...token("r1", 0), id: null }), /the type "token" has the id null/);
});

test("bytes that are no UTF-8 are an offence, and a stray line before the handshake", () => {
  const noText = Buffer.from('"\xff"\n', "latin1");
  const { connection } = connect();
  assert.throws(() => connection.receive(noText), Offence);
  const early = connect(null).connection;
  early.receive(noText);
  assert.equal(early.strayLines.length, 1);
});

test("an item that failed with duplicate_id is no offence", () => {
  const { heard, say, request } = connect();
  const { error } = failed(null, "duplicate_id");
  say({ id: request("a", { prompts: ["x"] }, "batch").id, type: "item", index: 0, error });
  assert.deepEqual(heard, ["a: item"]);
});

suite("a connection that was forgotten", () => {
  const giveUp = () => {
    const connected = connect();
    const [a, b] = [connected.request("a").id, connected.request("b").id];
    return { ...connected, a, b };
  };

  test("tells its listener nothing more of the same chunk", () => {
    const { connection, heard, say, a, b } = giveUp();
    const push = heard.push.bind(heard);
    heard.push = (...more) => {
      connection.forget();
      return push(...more);
    };
    say(done(a), done(b), "no message");
    assert.deepEqual([...heard], ["a: done, ended"]);
    assert.equal(connection.inFlight, 0);
  });

  test("tells its listener no unfinished last line either", () => {
    const { connection, heard, a } = giveUp();
    connection.receive(Buffer.from(JSON.stringify(done(a))));
    connection.forget();
    connection.receiveEnd();
    assert.deepEqual(heard, []);
  });
});

suite("the handshake", () => {
  test("takes an object without a type or an id for a stray line", () => {
    const { connection, say } = connect(null);
    say({ type: "log" }, { id: "r1" });
    assert.equal(connection.strayLines.length, 2);
  });

  test("keeps the beginning of a long stray line", () => {
    const { connection, say } = connect(null);
    say("x".repeat(100_000));
    assert.equal(connection.strayLines[0]?.length, STRAY_LINE_BYTES);
  });

  for (const cap of [0, -1, 1.5, "9", null]) {
    test(`ignores a limit of ${cap} from the worker`, () => {
      const { request } = connect({ ...GREETING, limits: { max_line_bytes: cap } });
      assert.ok(request("a", { prompt: "x".repeat(5000) }).line.length > 5000);
    });
  }

  test("accepts replies up to the worker's limit if that is larger", () => {
    const limits = { max_line_bytes: 2 * DEFAULT_MAX_LINE_BYTES };
    const { heard, say } = connect({ ...GREETING, limits });
    const text = "x".repeat(DEFAULT_MAX_LINE_BYTES);
    say({ id: null, type: "event", event: "long", data: { text } });
    assert.deepEqual(heard, ["event long"]);
  });

  test("takes lines before its answer for stray lines, up to a number", () => {
    const { connection, say } = connect(null);
    say(...Array<string>(MAX_STRAY_LINES).fill("banner"));
    assert.equal(connection.strayLines.length, MAX_STRAY_LINES);
    assert.equal(connection.strayLines[0]?.toString(), "banner");
    assert.throws(() => say("one more"), Offence);
  });

  test("is over with its answer", () => {
    const { connection, heard, say } = connect(null);
    say(GREETING);
    assert.equal(connection.state, "ready");
    assert.deepEqual(heard, ["hello: result, ended"]);
  });

  test("fails with the worker's error", () => {
    const { connection, heard, say } = connect(null);
    say(failed("r1", "unsupported_protocol"));
    assert.equal(connection.state, "failed");
    assert.deepEqual(heard, ["hello: error, ended"]);
  });

  test("is an offence if the protocol was not offered", () => {
    const { say } = connect(null);
    assert.throws(() => say({ ...GREETING, protocol: 2 }), /protocol 2/);
  });

  test("is an offence if the program writes hello back, also after a banner", () => {
    const { connection, say } = connect(null);
    say("$");
    const line = connection.hello("r1", HELLO, "hello").toString().trimEnd();
    assert.throws(() => say(line), /writes its input back, as `cat` does/);
  });

  test("is an offence if the worker speaks the older wire only", () => {
    const { say } = connect(null);
    const older = { error: `request: no cmd ${"x".repeat(1000)}` };
    assert.throws(
      () => say(older),
      (error) => {
        assert.ok(error instanceof Offence);
        return /older wire/.test(error.message) && error.message.length < 300;
      },
    );
  });

  test("that is over makes an error without an id no answer of the older wire", () => {
    const { say } = connect();
    assert.throws(() => say({ error: "of no request" }), /id undefined, which is not pending/);
  });
});
