import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as shapes from "../../src/wire/shape.js";

const read = shapes.shape({
  token_id: shapes.integer,
  top_k: shapes.defaulting(shapes.number, 0),
  labels: shapes.nullable(shapes.recordOf(shapes.nullable(shapes.number))),
  stop_tokens: shapes.arrayOf(shapes.integer),
});
const GOOD = { token_id: 1, labels: null, stop_tokens: [1, 2] };

suite("a shape", () => {
  test("reads a message with JavaScript's names, and leaves out unknown fields", () => {
    assert.deepEqual(read({ ...GOOD, top_k: 3, later: true }), {
      tokenId: 1,
      topK: 3,
      labels: null,
      stopTokens: [1, 2],
    });
  });

  test("fills in the default of a missing field", () => {
    assert.equal(read(GOOD).topK, 0);
    assert.equal(shapes.nullable(shapes.string)(undefined), null);
  });

  test("leaves keys that are no field names as they are", () => {
    assert.deepEqual(read({ ...GOOD, labels: { so_so: 0.5, bad: null } }).labels, {
      so_so: 0.5,
      bad: null,
    });
  });

  const wrong: [what: string, message: object, complaint: RegExp][] = [
    ["missing", { ...GOOD, token_id: undefined }, /`token_id`: is missing, where an integer/],
    ["no integer", { ...GOOD, token_id: 1.5 }, /`token_id`: is 1.5/],
    ["beyond what a double counts", { ...GOOD, token_id: 2 ** 53 }, /`token_id`/],
    ["a text for a number", { ...GOOD, top_k: "3" }, /`top_k`: is "3", where a number/],
    ["infinite", { ...GOOD, top_k: Number.POSITIVE_INFINITY }, /`top_k`/],
    ["of an array", { ...GOOD, stop_tokens: [1, null] }, /`stop_tokens`: is null/],
    ["an object for an array", { ...GOOD, stop_tokens: {} }, /where an array was due/],
    ["an array for an object", { ...GOOD, labels: [] }, /where an object was due/],
  ];
  for (const [what, message, complaint] of wrong) {
    test(`refuses a field that is ${what}`, () => {
      assert.throws(() => read(message), complaint);
    });
  }
});

test("an error shows the beginning of a long value", () => {
  assert.throws(
    () => read({ ...GOOD, token_id: "x".repeat(1000) }),
    (error) => error instanceof TypeError && error.message.length < 200,
  );
});

suite("a name", () => {
  for (const [wire, here] of [
    ["prefill_tokens_per_second", "prefillTokensPerSecond"],
    ["top_k", "topK"],
    ["seed", "seed"],
  ] as const) {
    test(`${wire} is ${here}`, () => {
      assert.equal(shapes.camelCase(wire), here);
      assert.equal(shapes.snakeCase(here), wire);
    });
  }
});
