/** What may no longer happen to a stream that has ended, and what has to happen before. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { UnheardRequest } from "../src/ask.js";
import { ProtocolViolation, type Token } from "../src/index.js";
import { startModel, startScripted } from "./scriptedWorker.js";

suite("a stream that has ended", () => {
  test("gives what is still to be taken though its signal aborts", async () => {
    const { script, model } = await startModel();
    const controller = new AbortController();
    const stream = model.generate("a", { signal: controller.signal });
    const step = stream.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 3);
    script.done(request);
    await step;
    controller.abort();
    assert.equal((await stream.done).finishReason, "stop");
    const rest: Token[] = [];
    for await (const token of stream) {
      rest.push(token);
    }
    assert.deepEqual(
      rest.map(({ seq }) => seq),
      [1, 2],
    );
    assert.equal(script.unread.length, 0);
  });

  test("by a result has not ended as a stream does", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const step = stream.next();
    const { id } = await script.next("generate");
    const end = { finish_reason: "stop", tokens_generated: 0, metrics: {} };
    script.say({ id, type: "result", final: true, ...end });
    await assert.rejects(step, (error) => {
      assert.ok(error instanceof ProtocolViolation);
      return /`generate` ended with `result` where `done` was due/.test(error.message);
    });
  });

  test("by a crash is in flight no more", async () => {
    const { worker, script, model } = await startModel();
    const lost = model.generate("a").text();
    await script.next("generate");
    assert.equal(worker.connection.inFlight, 1);
    script.exit(1);
    await assert.rejects(lost, { code: "worker_crashed" });
    assert.equal(worker.connection.inFlight, 0);
  });
});

test("a stream that is taken in chunks grants its worker as many as it took", async () => {
  const { script, model } = await startModel({ window: 4 });
  const chunks = model.generate("a").chunks();
  const step = chunks.next();
  const request = await script.next("generate");
  script.tokens(request, 0, 4);
  assert.equal((await step).value?.length, 4);
  const credit = await script.next("credit");
  assert.deepEqual([credit.target, credit.n], [request.id, 4]);
});

test("a request that runs can't be started again", async () => {
  const { worker, script } = await startScripted();
  const request = new UnheardRequest(worker.connection, "metrics", {});
  request.start(worker.connection);
  assert.throws(() => request.start(worker.connection), /a request that is running can't start/);
  script.answer(await script.next("metrics"));
});
