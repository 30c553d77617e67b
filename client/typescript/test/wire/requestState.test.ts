import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Offence, RequestState } from "../../src/wire/requestState.js";

const TOKEN = { type: "token", seq: 0 };
const DONE = { type: "done", final: true };

suite("a request that has ended", () => {
  const late: [what: string, message: object][] = [
    ["a token", TOKEN],
    ["a progress", { type: "progress" }],
    ["another final", DONE],
  ];
  for (const [what, message] of late) {
    test(`accepts no ${what}`, () => {
      const state = new RequestState("r1", null);
      state.advance(DONE);
      assert.throws(() => state.advance({ ...message }), Offence);
      assert.equal(state.ended, true);
    });
  }

  test("accepts no plain token either", () => {
    const state = new RequestState("r1", null);
    state.advance(DONE);
    assert.equal(state.advancePlainToken(0), false);
  });
});
