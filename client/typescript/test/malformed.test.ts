import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ProtocolViolation } from "../src/index.js";
import type { JsonObject } from "../src/wire/json.js";
import { startModel } from "./support/scriptedWorker.js";

const PROGRESS = { type: "progress", stage: "prefill", done: 1, total: 2 };
const ITEM = { type: "item", index: 0, token: "a", token_id: 1, logprob: null };
const TOKEN = { type: "token", seq: 0, token: "a", token_id: 1 };

suite("a reply in a wrong shape is the worker's offence, and no exception in the host", () => {
  const replies: [what: string, reply: JsonObject][] = [
    ["a progress without a stage", { ...PROGRESS, stage: null }],
    ["an item whose index is a text", { ...ITEM, index: "0" }],
    ["a token whose text is a number", { ...TOKEN, token: 5 }],
    ["a token whose id is a fraction", { ...TOKEN, token_id: 1.5 }],
    ["a token whose likeliest tokens are numbers", { ...TOKEN, logprob: 0, top_logprobs: [7] }],
  ];
  for (const [what, reply] of replies) {
    test(what, async () => {
      const { worker, script, model } = await startModel();
      const classified = model.classify(["a"], { onProgress: () => undefined });
      const { id } = await script.next("classify");
      assert.doesNotThrow(() => script.say({ ...reply, id }));
      await assert.rejects(classified, ProtocolViolation);
      await worker.closed;
      assert.deepEqual(script.steps.slice(0, 2), ["stdin", "SIGTERM"]);
    });
  }

  test("but a progress without a callback is not read", async () => {
    const { worker, script, model } = await startModel();
    const classified = model.classify(["a"]);
    const request = await script.next("classify");
    script.say({ ...PROGRESS, stage: null, id: request.id });
    script.done(request);
    assert.deepEqual(await classified, []);
    await worker.close();
  });

  test("but an unknown field is ignored", async () => {
    const { worker, script, model } = await startModel();
    const classified = model.classify(["a"]);
    const request = await script.next("classify");
    script.say({ ...ITEM, id: request.id, mood: "good" });
    script.done(request);
    assert.equal((await classified).length, 1);
    await worker.close();
  });
});
