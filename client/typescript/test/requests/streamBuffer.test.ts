/** The buffer of a stream: how much it may hold, and how often it is weighed. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { SlowConsumer } from "../../src/index.js";
import { Queue } from "../../src/requests/queue.js";
import { tokenBytes } from "../../src/requests/weight.js";
import { type ScriptedWorker, startModel, withoutWindows } from "../support/scriptedWorker.js";

/** Start a stream of which only the first token is taken. */
async function untaken(bufferBytes: number, script?: ScriptedWorker) {
  const started = await startModel({ window: 4, bufferBytes }, script);
  const stream = started.model.generate("a");
  const step = stream.next();
  const request = await started.script.next("generate");
  started.script.tokens(request, 0, 1);
  const { value: token } = await step;
  assert.ok(token);
  return { ...started, stream, request, token };
}

suite("a stream that nobody takes", () => {
  test("holds a whole window, whatever it weighs", async () => {
    const { script, stream, request } = await untaken(1);
    script.tokens(request, 1, 5);
    assert.equal(script.unread.length, 0);
    script.done(request);
    const rest: number[] = [];
    for await (const { seq } of stream) {
      rest.push(seq);
    }
    assert.deepEqual(rest, [1, 2, 3, 4]);
  });

  test("may weigh bufferBytes, and not more", async () => {
    const { token, worker } = await untaken(1);
    await worker.close();
    const { script, stream, request } = await untaken(2 * tokenBytes(token), withoutWindows());
    script.tokens(request, 1, 3);
    assert.equal(script.unread.length, 0);
    script.tokens(request, 3, 4);
    await assert.rejects(stream.done, SlowConsumer);
    script.done(request, "cancelled");
  });

  test("is weighed seldom, so that a message costs the same at every length", async (t) => {
    const { script, stream, request } = await untaken(64 * 1024 * 1024, withoutWindows());
    const weighed = t.mock.method(Queue.prototype, "takeAll");
    script.tokens(request, 1, 5000);
    assert.ok(weighed.mock.callCount() < 50, `${weighed.mock.callCount()} times`);
    script.done(request);
    assert.equal((await stream.done).finishReason, "stop");
  });
});

suite("a stream that is taken in chunks", () => {
  test("grants the worker as many messages as it took", async () => {
    const { script, model } = await startModel({ window: 4 });
    const chunks = model.generate("a").chunks();
    const step = chunks.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 4);
    assert.equal((await step).value?.length, 4);
    const credit = await script.next("credit");
    assert.deepEqual([credit.target, credit.n], [request.id, 4]);
  });

  test("counts the tokens of all chunks", async () => {
    const { script, model } = await startModel();
    const chunks = model.batch(["a"], { stream: true }).chunks();
    const step = chunks.next();
    const request = await script.next("batch");
    script.tokens(request, 0, 4, { index: 0 });
    await step;
    script.fail(request, "internal");
    await assert.rejects(chunks.next(), { tokensDelivered: 4 });
  });
});
