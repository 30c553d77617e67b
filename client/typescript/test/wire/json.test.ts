import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { InvalidParams } from "../../src/errors.js";
import { checkSendable, MAX_DEPTH, parseLine } from "../../src/wire/json.js";

function nested(levels: number, inmost: unknown = 1): unknown {
  let value: unknown = inmost;
  for (let level = 0; level < levels; level += 1) {
    value = [value];
  }
  return value;
}

suite("a line that is refused", () => {
  const refused: Record<string, Buffer> = {
    "bytes that are no UTF-8": Buffer.from('{"a":"\xff"}', "latin1"),
    "a character in an overlong form": Buffer.from('{"a":"\xc0\xaf"}', "latin1"),
    "a surrogate in UTF-8": Buffer.from('{"a":"\xed\xa0\x80"}', "latin1"),
    "an escaped lone surrogate": Buffer.from('{"a":"\\ud800"}'),
    "surrogates in the wrong order": Buffer.from('{"a":"\\ude00\\ud83d"}'),
    "a lone surrogate in a name": Buffer.from('{"\\uD800":1}'),
    "a byte order mark": Buffer.from("\ufeff{}"),
    NaN: Buffer.from('{"a":NaN}'),
    Infinity: Buffer.from('{"a":-Infinity}'),
    "a cut object": Buffer.from('{"a":'),
    "a number beyond a double": Buffer.from('{"a":[1e400]}'),
    "a negative number beyond a double": Buffer.from('{"a":-1E+0400}'),
    "a long number beyond a double": Buffer.from(`{"a":1${"0".repeat(309)}.5}`),
    "too many levels": Buffer.from(`${"[".repeat(1025)}${"]".repeat(1025)}`),
    "too many levels of both kinds": Buffer.from(`${'{"]":['.repeat(513)}${"]}".repeat(513)}`),
    "too many levels behind text": Buffer.from(
      `["\\"]}","\\\\",${"[".repeat(1024)}${"]".repeat(1024)}]`,
    ),
    "a long number with a short exponent": Buffer.from(`{"a":1${"0".repeat(250)}e99}`),
  };
  for (const [name, line] of Object.entries(refused)) {
    test(name, () => {
      assert.throws(() => parseLine(line), SyntaxError);
    });
  }
});

suite("a line that is read", () => {
  const read: Record<string, [line: string, value: unknown]> = {
    "an escaped pair of surrogates": ['{"a":"\\ud83d\\ude00"}', { a: "😀" }],
    "a backslash before what looks like a surrogate": ['{"a":"\\\\ud800"}', { a: "\\ud800" }],
    "a replacement character that was sent": ['{"a":"\ufffd"}', { a: "\ufffd" }],
    "a number at the end of a double's range": ['{"a":1.5e308}', { a: 1.5e308 }],
    "a text that looks like a large number": ['{"a":"1e400"}', { a: "1e400" }],
    "a number too small for a double": ['{"a":1e-400}', { a: 0 }],
    "the most levels": [`${"[".repeat(1024)}${"]".repeat(1024)}`, nested(1023, [])],
    "many brackets beside each other": [`[${"[],".repeat(2000)}1]`, [...Array(2000).fill([]), 1]],
    "many brackets in a text": [`["\\"${"[{".repeat(2000)}"]`, [`"${"[{".repeat(2000)}`]],
    "a name that occurs twice": ['{"a":1,"a":2}', { a: 2 }],
  };
  for (const [name, [line, value]] of Object.entries(read)) {
    test(name, () => {
      assert.deepEqual(parseLine(Buffer.from(line)), value);
    });
  }
});

suite("a value that can't be sent is refused by its path", () => {
  const refused: Record<string, [value: unknown, path: string]> = {
    "a lone surrogate": ["\ud800", "prompt"],
    "a lone surrogate in a message": [[{ role: "user", content: "a\udc00" }], "prompt[0].content"],
    "not a number": [Number.NaN, "prompt"],
    "an infinite number": [[1, Number.POSITIVE_INFINITY], "prompt[1]"],
    "a bigint": [1n, "prompt"],
    "a hole": [[undefined], "prompt[0]"],
    "a function": [{ a: () => 1 }, "prompt.a"],
    "a date": [new Date(0), "prompt"],
    "a lone surrogate in a name": [{ "\ud800": 1 }, "prompt"],
  };
  for (const [name, [value, path]] of Object.entries(refused)) {
    test(name, () => {
      assert.throws(
        () => checkSendable(value, "prompt"),
        (error) => error instanceof InvalidParams && error.field === path,
      );
    });
  }

  test("a value that was forgotten, in words", () => {
    assert.throws(() => checkSendable(undefined, "prompt"), /`prompt` is undefined, which/);
  });

  test("a value that is nested too deep", () => {
    checkSendable(nested(MAX_DEPTH - 1), "prompt");
    assert.throws(
      () => checkSendable(nested(MAX_DEPTH), "prompt"),
      (error) => error instanceof InvalidParams && error.message.length < 200,
    );
  });

  test("but an object without a prototype is sent", () => {
    checkSendable(Object.assign(Object.create(null), { a: 1 }), "prompt");
  });
});
