/** Random streams in random pieces, compared with a very simple reader. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Token } from "../../src/results.js";
import { ClientConnection } from "../../src/wire/clientConnection.js";
import { type Line, LineSplitter, Overlong, PREFIX_BYTES } from "../../src/wire/framing.js";

const ROUNDS = 400;
const CAP = 700;
const PARTS = ["\n", "\n", "\r\n", "\r", " ", "\t", "{}", "é", "😀", "\u2028", "\u0085", "\x00"];

type Random = (below: number) => number;

/** Make a generator of numbers that are the same for the same seed (mulberry32). */
function seeded(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function randomStream(random: Random): Buffer {
  const parts = Array.from({ length: random(60) }, () => {
    const long = "x".repeat(CAP - 2 + random(5));
    const part = random(12) === 0 ? long : PARTS[random(PARTS.length)];
    return Buffer.from(part ?? "");
  });
  const cutCharacter = Buffer.of(0xf0, 0x9f).subarray(0, random(3));
  return Buffer.concat([...parts, cutCharacter]);
}

function pieces(input: Buffer, random: Random): Buffer[] {
  const all: Buffer[] = [];
  for (let start = 0; start < input.length; ) {
    const end = start + 1 + random(random(4) === 0 ? 2000 : 12);
    all.push(input.subarray(start, end));
    start = end;
  }
  return all;
}

function simpleLines(input: Buffer): string[] {
  return input
    .toString("latin1")
    .split("\n")
    .map((line) => line.replace(/\r$/, ""))
    .filter((line) => !/^[ \t\r]*$/.test(line))
    .map((line) => (line.length > CAP ? `too long: ${line.slice(0, PREFIX_BYTES)}` : line));
}

function told(line: Line): string {
  return line instanceof Overlong
    ? `too long: ${line.prefix.toString("latin1")}`
    : line.toString("latin1");
}

test("lines are the same however a stream is cut", () => {
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const random = seeded(seed);
    const input = randomStream(random);
    const splitter = new LineSplitter(CAP);
    const lines = pieces(input, random).flatMap((piece) => splitter.feed(piece));
    const last = splitter.end();
    const all = last === null ? lines : [...lines, last];
    assert.deepEqual(all.map(told), simpleLines(input), `seed ${seed}`);
  }
});

test("a stream's text is the same however its bytes are cut", () => {
  const texts = ["a", " né", "😀", "\u2028", '"', "\\", "\n", "\ud7ff", "", "你好"];
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const random = seeded(seed);
    const wanted = Array.from({ length: random(40) }, () => texts[random(texts.length)] ?? "");
    const received: string[] = [];
    const connection = new ClientConnection<string>({
      tokenReceived: (_, token: Token) => received.push(token.text),
      replyReceived: () => undefined,
      requestEnded: () => undefined,
      eventReceived: () => undefined,
    });
    connection.hello("h", { require: [], events: [] }, "hello");
    const hello = { id: "h", type: "result", final: true, protocol: 1 };
    connection.request("r1", "generate", { prompt: "a" }, "owner");
    const tokens = wanted.map((token, seq) => ({
      id: "r1",
      type: "token",
      seq,
      token,
      token_id: 7,
    }));
    const lines = [hello, ...tokens].map((message) => `${JSON.stringify(message)}\n`);
    for (const piece of pieces(Buffer.from(lines.join("")), random)) {
      connection.receive(piece);
    }
    assert.deepEqual(received, wanted, `seed ${seed}`);
  }
});
