import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { MAX_LINE_BYTES, StderrRing } from "../../src/process/stderrRing.js";

function listening(): { ring: StderrRing; lines: string[] } {
  const lines: string[] = [];
  return { ring: new StderrRing((line) => lines.push(line), 16), lines };
}

suite("the ring", () => {
  test("keeps the last bytes, however the input is cut", () => {
    const all = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (let size = 1; size <= all.length; size += 1) {
      const ring = new StderrRing(null, 16);
      for (let start = 0; start < all.length; start += size) {
        ring.feed(Buffer.from(all.slice(start, start + size)));
        assert.equal(ring.text(), all.slice(0, start + size).slice(-16), `in pieces of ${size}`);
      }
      assert.deepEqual([ring.text(2), ring.text(5)], ["yz", "vwxyz"]);
    }
  });

  test("replaces a character that was cut in two", () => {
    const ring = new StderrRing(null, 2);
    ring.feed(Buffer.from("é–"));
    assert.match(ring.text(), /\ufffd/);
  });
});

suite("the listener", () => {
  test("hears whole lines without their line ends", () => {
    const { ring, lines } = listening();
    for (const byte of Buffer.from("one\r\n\ntw\u00e9\nrest")) {
      ring.feed(Buffer.of(byte));
    }
    assert.deepEqual(lines, ["one", "", "tw\u00e9"]);
    ring.end();
    ring.end();
    assert.deepEqual(lines, ["one", "", "tw\u00e9", "rest"]);
  });

  test("hears an endless line in pieces", () => {
    const { ring, lines } = listening();
    ring.feed(Buffer.alloc(MAX_LINE_BYTES, "x"));
    assert.equal(lines.length, 0);
    ring.feed(Buffer.alloc(MAX_LINE_BYTES + 1, "x"));
    assert.equal(lines.length, 2);
    ring.feed(Buffer.from("\n"));
    assert.deepEqual(lines.map(lengthOf), [MAX_LINE_BYTES, MAX_LINE_BYTES, 1]);
  });

  test("hears a long line in pieces also if it comes in one chunk", () => {
    const { ring, lines } = listening();
    ring.feed(Buffer.from(`${"x".repeat(2 * MAX_LINE_BYTES + 1)}\n`));
    assert.deepEqual(lines.map(lengthOf), [MAX_LINE_BYTES, MAX_LINE_BYTES, 1]);
  });
});

function lengthOf(line: string): number {
  return line.length;
}
