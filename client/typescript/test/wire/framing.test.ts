import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  DEFAULT_MAX_LINE_BYTES,
  type Line,
  LineSplitter,
  Overlong,
} from "../../src/wire/framing.js";
import { listFiles, readJson } from "../support/repository.js";

type Part = string | { hex: string } | { repeat: string; times: number };
type Bytes = string | Part[];

interface Vector {
  name: string;
  max_line_bytes?: number;
  input: Bytes;
  lines: (Bytes | { too_long: Bytes })[];
  end: Bytes | { too_long: Bytes } | null;
}

/** Bytes of a stream above which only the cuts beside line ends are tried. */
const ALL_CUTS_UP_TO = 4096;

function partBytes(part: Part): Buffer {
  if (typeof part === "string") {
    return Buffer.from(part);
  }
  return "hex" in part ? Buffer.from(part.hex, "hex") : Buffer.from(part.repeat.repeat(part.times));
}

function bytes(parts: Bytes): Buffer {
  return Buffer.concat((typeof parts === "string" ? [parts] : parts).map(partBytes));
}

/** Give a line in a form that can be compared. */
function told(line: Line | null): string | null {
  if (line === null) {
    return null;
  }
  return line instanceof Overlong
    ? `too long: ${line.prefix.toString("hex")}`
    : line.toString("hex");
}

function expected(line: Bytes | { too_long: Bytes } | null): string | null {
  if (line === null) {
    return null;
  }
  const overlong = typeof line === "object" && "too_long" in line;
  return told(overlong ? new Overlong(bytes(line.too_long).subarray(0, 512)) : bytes(line));
}

/** Read a stream in these pieces; each piece is overwritten once it has been fed. */
function read(pieces: Buffer[], maxLineBytes: number | undefined): (string | null)[] {
  const splitter = new LineSplitter(maxLineBytes);
  const lines: (string | null)[] = [];
  for (const piece of pieces) {
    const chunk = Buffer.from(piece);
    lines.push(...splitter.feed(chunk).map(told));
    chunk.fill(0x2a);
  }
  lines.push(told(splitter.end()));
  return lines;
}

function cuts(input: Buffer): number[] {
  const all = Array.from(input.keys());
  if (input.length <= ALL_CUTS_UP_TO) {
    return all;
  }
  const ends = all.filter((at) => input[at] === 0x0a);
  return [1, input.length - 1, ...ends.flatMap((end) => [end - 1, end, end + 1])];
}

for (const file of listFiles("testdata/framing", ".json")) {
  suite(`framing vectors of ${file}`, () => {
    for (const vector of readJson<Vector[]>(`testdata/framing/${file}`)) {
      test(vector.name, () => {
        const input = bytes(vector.input);
        const wanted = [...vector.lines.map(expected), expected(vector.end)];
        assert.deepEqual(read([input], vector.max_line_bytes), wanted, "whole");
        for (const cut of cuts(input)) {
          const pieces = [input.subarray(0, cut), input.subarray(cut)];
          assert.deepEqual(read(pieces, vector.max_line_bytes), wanted, `cut at ${cut}`);
        }
        if (input.length <= ALL_CUTS_UP_TO) {
          const singly = Array.from(input, (byte) => Buffer.of(byte));
          assert.deepEqual(read(singly, vector.max_line_bytes), wanted, "byte by byte");
        }
      });
    }
  });
}

test("the limit before hello is that of SPEC §1", () => {
  assert.equal(DEFAULT_MAX_LINE_BYTES, 16_777_216);
});

test("a long line in small pieces is scanned once", (t) => {
  const { indexOf } = Buffer.prototype;
  let scanned = 0;
  t.mock.method(Buffer.prototype, "indexOf", function (this: Buffer, byte: number, from = 0) {
    scanned += this.length - from;
    return indexOf.call(this, byte, from);
  });
  const splitter = new LineSplitter();
  for (let count = 0; count < 10_000; count += 1) {
    splitter.feed(Buffer.alloc(64, "x"));
  }
  assert.equal((splitter.end() as Buffer).length, 640_000);
  assert.equal(scanned, 640_000);
});

test("a line past its cap takes no more memory than the cap", (t) => {
  const allocated = t.mock.method(Buffer, "allocUnsafeSlow");
  const [cap, piece] = [10_000, 100];
  const splitter = new LineSplitter(cap);
  for (let count = 0; count < 2000; count += 1) {
    splitter.feed(Buffer.alloc(piece, "x"));
  }
  const sizes = allocated.mock.calls.map(({ arguments: [size] }) => size);
  assert.ok(Math.max(...sizes) <= 2 * (cap + piece), `${Math.max(...sizes)} bytes at once`);
  assert.ok(sizes.length < 20, `it was copied ${sizes.length} times`);
  const last = sizes.at(-1) ?? 0;
  assert.ok(last > cap, "it was held up to its cap");
  assert.ok(splitter.end() instanceof Overlong);
});
