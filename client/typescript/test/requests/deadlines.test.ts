/** The limits of a request: its whole time, and the time without a message. */

import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { type Model, RequestTimeout, type WorkerOptions } from "../../src/index.js";
import { Clock } from "../support/clock.js";
import { type Request, type ScriptedWorker, startModel } from "../support/scriptedWorker.js";

/** End the cancelled request, so that no drain timer is left behind. */
async function confirmCancel(script: ScriptedWorker, request: Request): Promise<void> {
  assert.equal((await script.next("cancel")).target, request.id);
  script.done(request, "cancelled");
}

suite("a request that takes too long", () => {
  const limits: [whose: string, worker: WorkerOptions, own: { timeoutMs?: number }][] = [
    ["its own", {}, { timeoutMs: 20 }],
    ["the worker's", { requestTimeoutMs: 20 }, {}],
  ];
  for (const [whose, ofWorker, own] of limits) {
    test(`is cancelled by ${whose} limit`, async () => {
      const { script, model } = await startModel(ofWorker);
      const reading = model.generate("a", own).text();
      const request = await script.next("generate");
      script.tokens(request, 0, 1);
      await assert.rejects(reading, { code: "timeout", message: /longer than the 20 ms/ });
      await confirmCancel(script, request);
    });
  }

  test("is cancelled by the worker's limit also if it has one result", async () => {
    const { script, worker } = await startModel({ requestTimeoutMs: 20 });
    const asked = worker.metrics();
    const request = await script.next("metrics");
    await assert.rejects(asked, { code: "timeout", message: /longer than the 20 ms/ });
    await confirmCancel(script, request);
  });

  test("fails at its limit also with messages in its buffer", async (t) => {
    const { script, model } = await startModel();
    t.mock.timers.enable({ apis: ["setTimeout"] }); // or a slow test would be late for the tokens
    const stream = model.generate("a", { timeoutMs: 1000 });
    const step = stream.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 3);
    await step;
    t.mock.timers.tick(1000);
    await assert.rejects(stream.done, RequestTimeout);
    await assert.rejects(stream.next(), RequestTimeout);
    await confirmCancel(script, request);
  });

  test("has failed by its limit, whatever the worker replies later", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a", { timeoutMs: 20 });
    const step = stream.next();
    const request = await script.next("generate");
    await assert.rejects(step, RequestTimeout);
    script.done(request);
    await assert.rejects(stream.next(), RequestTimeout);
  });

  test("has failed by its limit also if the worker never ends it", async () => {
    const { script, model } = await startModel({ drainTimeoutMs: 20 });
    const stream = model.generate("a", { timeoutMs: 20 });
    const step = stream.next();
    await script.next("generate");
    await assert.rejects(step, RequestTimeout);
    await stream.cancel();
    await assert.rejects(stream.next(), RequestTimeout);
  });
});

suite("a stream without messages", () => {
  const STEP_MS = 250;
  const IDLE = { idleTimeoutMs: 4 * STEP_MS };

  /** Start a stream whose consumer waits, under a clock that moves by hand. */
  async function waiting(t: TestContext) {
    const { script, model } = await startModel();
    const clock = new Clock(t);
    const stream = model.generate("a", { ...IDLE, onProgress: () => undefined });
    const step = stream.next();
    return { script, clock, stream, step, request: await script.next("generate") };
  }

  test("is cancelled by the worker's limit", async () => {
    const { script, model } = await startModel({ idleTimeoutMs: 20 });
    const reading = model.generate("a").text();
    const request = await script.next("generate");
    await assert.rejects(reading, { code: "timeout" });
    await confirmCancel(script, request);
  });

  test("is cancelled when the limit has passed, and not before", async (t) => {
    const { script, clock, step, request } = await waiting(t);
    for (let look = 0; look < 3; look += 1) {
      clock.pass(STEP_MS);
    }
    assert.equal(script.unread.length, 0);
    clock.pass(STEP_MS);
    await assert.rejects(step, { code: "timeout", message: /nothing came of `generate`/ });
    await confirmCancel(script, request);
  });

  test("goes on as long as the worker reports progress", async (t) => {
    const { script, clock, step, request } = await waiting(t);
    for (let done = 0; done < 20; done += 1) {
      script.say({ id: request.id, type: "progress", stage: "prefill", done, total: 20 });
      clock.pass(3 * STEP_MS);
    }
    script.tokens(request, 0, 1);
    script.done(request);
    assert.equal((await step).value?.seq, 0);
    assert.equal(script.unread.length, 0);
  });

  test("is cancelled also if it falls silent after some progress", async (t) => {
    const { script, clock, step, request } = await waiting(t);
    script.say({ id: request.id, type: "progress", stage: "prefill", done: 1, total: 20 });
    clock.pass(STEP_MS);
    for (let look = 0; look < 4; look += 1) {
      assert.equal(script.unread.length, 0);
      clock.pass(STEP_MS);
    }
    await assert.rejects(step, { code: "timeout" });
    await confirmCancel(script, request);
  });

  test("goes on as long as its consumer has messages to take", async (t) => {
    const { script, clock, stream, step, request } = await waiting(t);
    script.tokens(request, 0, 2);
    await step;
    for (let look = 0; look < 20; look += 1) {
      clock.pass(STEP_MS);
    }
    assert.equal((await stream.next()).value?.seq, 1);
    script.done(request);
    assert.equal((await stream.done).finishReason, "stop");
  });
});

test("a stream of a closed model rejects, and next() does not throw", async () => {
  const { script, model } = await startModel();
  await unload(script, model);
  const stream = model.generate("a", { timeoutMs: 600_000 });
  const step = stream.next();
  await assert.rejects(step, { code: "model_not_loaded" });
  await assert.rejects(stream.done, { code: "model_not_loaded" });
});

async function unload(script: ScriptedWorker, model: Model): Promise<void> {
  const unloading = model.unload();
  script.answer(await script.next("unload"), { ok: true });
  await unloading;
}
