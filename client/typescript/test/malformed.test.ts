import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Model, ProtocolViolation, type Worker } from "../src/index.js";
import type { JsonObject } from "../src/wire/json.js";
import { startModel } from "./support/scriptedWorker.js";

const PROGRESS = { type: "progress", stage: "prefill", done: 1, total: 2 };
const ITEM = { type: "item", index: 0, token: "a", token_id: 1, logprob: null };
const TOKEN = { type: "token", seq: 0, token: "a", token_id: 1 };

suite("a reply in a wrong shape is the worker's offence, and no exception in the host", () => {
  const replies: [what: string, reply: JsonObject][] = [
    ["a progress without a stage", { ...PROGRESS, stage: null }],
    ["a progress whose count is a text", { ...PROGRESS, done: "1" }],
    ["a progress below nothing", { ...PROGRESS, total: -1 }],
    ["an item whose index is a text", { ...ITEM, index: "0" }],
    ["an item without its logprob", { ...ITEM, logprob: undefined }],
    ["a token whose text is a number", { ...TOKEN, token: 5 }],
    ["a token whose id is a fraction", { ...TOKEN, token_id: 1.5 }],
    ["a token whose likeliest tokens are numbers", { ...TOKEN, logprob: 0, top_logprobs: [7] }],
  ];
  for (const [what, reply] of replies) {
    test(what, async () => {
      const { worker, script, model } = await startModel();
      const streams = reply.type === "token";
      const options = { onProgress: () => undefined };
      const asked = streams
        ? model.generate("a", options).text()
        : model.classify(["a"], options).items();
      const request = await script.next(streams ? "generate" : "classify");
      assert.doesNotThrow(() => script.say({ ...reply, id: request.id }));
      script.done(request); // so that a client that takes the reply ends
      await assert.rejects(asked, ProtocolViolation);
      await worker.closed;
      assert.deepEqual(script.steps.slice(0, 2), ["stdin", "SIGTERM"]);
    });
  }

  const END = { finish_reason: "stop", tokens_generated: 1, metrics: {} };
  const finals: [what: string, reply: JsonObject][] = [
    ["an end without a reason", { ...END, type: "done", finish_reason: undefined }],
    ["an end whose metrics are a number", { ...END, type: "done", metrics: 5 }],
    ["a result where an end is due", { ...END, type: "result" }],
    ["an error without its body", { type: "error" }],
    ["an error without a code", { type: "error", error: { message: "m" } }],
    ["an error whose message is a number", { type: "error", error: { code: "c", message: 5 } }],
  ];
  for (const [what, reply] of finals) {
    test(`and fails every request in flight: ${what}`, async () => {
      const { worker, script, model } = await startModel();
      const asked = [model.generate("a").text(), worker.memory(), model.classify(["a"]).items()];
      const { id } = await script.next("generate");
      script.say({ ...reply, id, final: true });
      for (const waiting of asked) {
        await assert.rejects(waiting, ProtocolViolation);
      }
      await worker.closed;
      assert.deepEqual(script.steps.slice(0, 2), ["stdin", "SIGTERM"]);
    });
  }

  const results: [command: string, ask: (model: Model, worker: Worker) => Promise<unknown>][] = [
    ["info", (model) => model.refreshInfo()],
    ["tokenize", (model) => model.tokenize("a")],
    ["detokenize", (model) => model.detokenize([1])],
    ["cache", (model) => model.cache.stats()],
    ["memory", (_, worker) => worker.memory()],
    ["metrics", (_, worker) => worker.metrics()],
    ["cancel", (_, worker) => worker.cancel("r")],
    ["load", (_, worker) => worker.load("b")],
  ];
  for (const [command, ask] of results) {
    test(`and fails every request in flight: an empty result of ${command}`, async () => {
      const { worker, script, model } = await startModel();
      const asked = [ask(model, worker), model.generate("a").text()];
      script.answer(await script.next(command));
      for (const waiting of asked) {
        await assert.rejects(waiting, ProtocolViolation);
      }
      await worker.closed;
    });
  }

  test("also of a request that its caller has left", async () => {
    const { worker, script, model } = await startModel();
    const [stream, other] = [model.generate("a"), model.generate("b").text()];
    const step = stream.next();
    const requests = [await script.next("generate"), await script.next("generate")];
    const id = requests.find((request) => request.id === stream.id)?.id;
    const leaving = stream.return();
    script.say({ id, type: "done", final: true });
    await assert.rejects(other, ProtocolViolation);
    assert.deepEqual(await step, { done: true, value: undefined });
    await leaving;
    await worker.closed;
  });

  const RESULT = { type: "item", index: 0, text: "a", token_ids: [1], tokens_generated: 1 };
  const batchItems: [what: string, reply: JsonObject][] = [
    ["without its error", { ...RESULT, finish_reason: "stop" }],
    ["without a reason", { ...RESULT, error: null }],
    ["whose error is a text", { ...RESULT, finish_reason: null, error: "it broke" }],
    ["whose error has no code", { ...RESULT, finish_reason: null, error: { message: "m" } }],
  ];
  for (const [what, reply] of batchItems) {
    test(`also an item of a batch ${what}`, async () => {
      const { worker, script, model } = await startModel();
      const asked = model.batch(["a"]).next();
      const request = await script.next("batch");
      script.say({ ...reply, id: request.id });
      script.done(request);
      await assert.rejects(asked, ProtocolViolation);
      await worker.closed;
    });
  }

  test("also a progress that nobody hears", async () => {
    const { worker, script, model } = await startModel();
    const classified = model.classify(["a"]).items();
    const request = await script.next("classify");
    script.say({ ...PROGRESS, stage: null, id: request.id });
    script.done(request);
    await assert.rejects(classified, ProtocolViolation);
    await worker.closed;
  });

  test("but an unknown field is ignored", async () => {
    const { worker, script, model } = await startModel();
    const classified = model.classify(["a"]).items();
    const request = await script.next("classify");
    script.say({ ...ITEM, id: request.id, mood: "good" });
    script.done(request);
    assert.equal((await classified).length, 1);
    await worker.close();
  });
});
