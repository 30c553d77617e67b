/** The end of a stream, and events that come after it. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ProtocolViolation } from "../../src/index.js";
import { UnheardRequest } from "../../src/requests/ask.js";
import { startModel, startScripted } from "../support/scriptedWorker.js";

suite("a stream that has ended", () => {
  test("gives none of its buffered messages once its signal aborts", async () => {
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
    await assert.rejects(stream.next(), (error) => error === controller.signal.reason);
    assert.equal(script.unread.length, 0);
  });

  test("grants no more credit while its rest is taken", async () => {
    const { script, model } = await startModel({ window: 2 });
    const stream = model.generate("a");
    const step = stream.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 3);
    assert.equal((await script.next("credit")).n, 1);
    script.done(request);
    assert.equal((await step).value?.seq, 0);
    assert.deepEqual([(await stream.next()).value?.seq, (await stream.next()).value?.seq], [1, 2]);
    assert.equal(script.unread.length, 0);
  });

  test("by a result has broken the wire's rules", async () => {
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

  test("by a crash is no longer in flight", async () => {
    const { script, model } = await startModel();
    const lost = model.generate("a").text();
    await script.next("generate");
    assert.equal(script.connection.inFlight, 1);
    script.exit(1);
    await assert.rejects(lost, { code: "worker_crashed" });
    assert.equal(script.connection.inFlight, 0);
  });
});

suite("a stream that is left", () => {
  test("fails for its caller at once, not when the worker has ended it", async () => {
    const { script, model } = await startModel();
    const controller = new AbortController();
    const stream = model.generate("a", { signal: controller.signal });
    const step = stream.next();
    const request = await script.next("generate");
    let failed = false;
    stream.done.catch(() => {
      failed = true;
    });
    controller.abort();
    await assert.rejects(step, { name: "AbortError" });
    assert.equal(failed, true);
    await script.next("cancel");
    script.done(request, "cancelled");
  });

  test("twice is cancelled once, and both wait for its end", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const step = stream.next();
    const request = await script.next("generate");
    let left = 0;
    const leaving = [stream.cancel(), stream.cancel()].map((cancelled) =>
      cancelled.then(() => {
        left += 1;
      }),
    );
    await script.next("cancel");
    assert.equal(script.unread.length, 0);
    await assert.rejects(step, { code: "cancelled" });
    assert.equal(left, 0);
    script.done(request, "cancelled");
    await Promise.all(leaving);
  });

  test("reports no progress any more", async () => {
    const { script, model } = await startModel();
    const heard: unknown[] = [];
    const stream = model.generate("a", { onProgress: (progress) => heard.push(progress) });
    const step = stream.next();
    const { id } = await script.next("generate");
    const progress = { id, type: "progress", stage: "prefill", done: 1, total: 2 };
    script.say(progress);
    const leaving = stream.cancel();
    const cancel = await script.next("cancel");
    script.say(progress);
    script.done({ id, cmd: cancel.cmd }, "cancelled");
    await assert.rejects(step, { code: "cancelled" });
    await leaving;
    assert.deepEqual(heard, [{ stage: "prefill", done: 1, total: 2 }]);
  });
});

test("a stream ignores a reply of a later version", async () => {
  const { script, model } = await startModel();
  const reading = model.generate("a", { onProgress: () => assert.fail("it is none") }).text();
  const request = await script.next("generate");
  script.say({ id: request.id, type: "hint" });
  script.done(request);
  assert.equal(await reading, "");
});

test("a running request can't be started again", async () => {
  const { script } = await startScripted();
  const request = new UnheardRequest(script.connection, "metrics", {});
  request.start(script.connection);
  assert.throws(() => request.start(script.connection), /a request that is running can't start/);
  script.answer(await script.next("metrics"));
});
