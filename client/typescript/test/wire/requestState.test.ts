import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Offence, RequestState, repliesTo } from "../../src/wire/requestState.js";

const TOKEN = { type: "token", seq: 0 };
const DONE = { type: "done", final: true };
const TEXT = repliesTo("generate", {});

suite("a request that has ended", () => {
  const late: [what: string, message: object][] = [
    ["a token", TOKEN],
    ["a progress", { type: "progress" }],
    ["another final", DONE],
  ];
  for (const [what, message] of late) {
    test(`accepts no ${what}`, () => {
      const state = new RequestState("r1", null, TEXT);
      state.advance(DONE);
      assert.throws(() => state.advance({ ...message }), Offence);
      assert.equal(state.ended, true);
    });
  }

  test("accepts no plain token either", () => {
    const state = new RequestState("r1", null, TEXT);
    state.advance(DONE);
    assert.equal(state.advancePlainToken(0), false);
  });
});

suite("tokens and items are those that the request has", () => {
  const ITEM = { type: "item", index: 0 };
  const OF_PROMPT = { ...TOKEN, index: 0 };
  const prompts = ["a", "b"];
  const taken: [command: string, fields: object, replies: object[]][] = [
    ["generate", {}, [TOKEN, { ...TOKEN, seq: 1, index: 0 }, { ...TOKEN, seq: 2, index: null }]],
    ["batch", { prompts }, [ITEM, { ...ITEM, index: 1 }]],
    ["batch", { prompts, stream: true }, [OF_PROMPT, ITEM, { ...OF_PROMPT, index: 1 }]],
    ["classify", { prompts }, [ITEM, { ...ITEM, index: 1 }]],
  ];
  for (const [command, fields, replies] of taken) {
    test(`${command} takes ${JSON.stringify(replies)}`, () => {
      const state = new RequestState("r1", null, repliesTo(command, { ...fields }));
      for (const reply of replies) {
        state.advance({ ...reply });
      }
    });
  }

  const refused: [command: string, fields: object, replies: object[]][] = [
    ["generate", {}, [ITEM]],
    ["chat", {}, [ITEM]],
    ["chat", {}, [{ ...TOKEN, index: 1 }]],
    ["metrics", {}, [TOKEN]],
    ["metrics", {}, [OF_PROMPT]],
    ["metrics", {}, [ITEM]],
    ["batch", { prompts }, [OF_PROMPT]],
    ["batch", { prompts }, [ITEM, ITEM]],
    ["batch", { prompts, stream: true }, [TOKEN]],
    ["batch", { prompts, stream: true }, [ITEM, OF_PROMPT]],
    ["batch", { prompts, stream: true }, [{ ...OF_PROMPT, index: 2 }]],
    ["classify", { prompts }, [OF_PROMPT]],
    ["classify", { prompts }, [ITEM, ITEM]],
  ];
  for (const [command, fields, replies] of refused) {
    test(`${command} with ${JSON.stringify(fields)} refuses ${JSON.stringify(replies)}`, () => {
      const state = new RequestState("r1", null, repliesTo(command, { ...fields }));
      for (const reply of replies.slice(0, -1)) {
        state.advance({ ...reply });
      }
      assert.throws(() => state.advance({ ...replies.at(-1) }), Offence);
    });
  }

  test("and a plain token is refused as any other", () => {
    for (const [command, fields] of [
      ["metrics", {}],
      ["batch", { prompts, stream: true }],
    ] as const) {
      const state = new RequestState("r1", null, repliesTo(command, fields));
      assert.equal(state.advancePlainToken(0), false);
    }
  });
});
