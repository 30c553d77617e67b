import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Model, ProtocolViolation, RequestCancelled } from "../../src/index.js";
import { startModel, startScripted } from "../support/scriptedWorker.js";

/** Each way to wait for a whole answer, and the command that it sends. */
const WAYS: readonly [string, string, (model: Model) => Promise<unknown>][] = [
  ["refreshInfo()", "info", (model) => model.refreshInfo()],
  ["cache.warm()", "cache", (model) => model.cache.warm("a")],
  ["text()", "generate", (model) => model.generate("a").text()],
  ["items()", "batch", (model) => model.batch(["a", "b"]).items()],
  ["classify()", "classify", async (model) => model.classify(["a", "b"])],
];

suite("a caller that waits for a whole answer", () => {
  for (const [way, command, ask] of WAYS) {
    test(`is told that another call cancelled it: ${way}`, async () => {
      const { script, model, worker } = await startModel();
      const waiting = ask(model);
      const request = await script.next(command);
      const cancelling = worker.cancel();
      script.done(request, "cancelled", { stage: "decode" });
      await assert.rejects(waiting, (error) => {
        assert.ok(error instanceof RequestCancelled, String(error));
        assert.deepEqual([error.code, error.retryable], ["cancelled", false]);
        return true;
      });
      script.answer(await script.next("cancel"), { outcome: "accepted", cancelled: 1 });
      await cancelling;
    });

    test(`is told of a close: ${way}`, async () => {
      const { script, model, worker } = await startModel();
      const heard = assert.rejects(ask(model), RequestCancelled);
      const request = await script.next(command);
      script.deafTo = ["quit"];
      const closing = worker.close();
      while (!script.steps.includes("quit")) {
        await Promise.resolve();
      }
      script.done(request, "cancelled", { stage: "decode" });
      await heard;
      await closing;
    });
  }

  test("is told its own count of tokens at a close", async () => {
    const { script, model, worker } = await startModel();
    script.deafTo = ["quit"];
    const waiting = [model.generate("a").text(), model.generate("b").text()];
    const requests = [await script.next("generate"), await script.next("generate")];
    for (const [place, request] of requests.entries()) {
      script.tokens(request, 0, place + 1);
    }
    const closing = worker.close();
    while (!script.steps.includes("quit")) {
      await Promise.resolve();
    }
    for (const request of requests) {
      script.done(request, "cancelled", { stage: "decode" });
    }
    for (const [place, text] of waiting.entries()) {
      await assert.rejects(text, { code: "cancelled", tokensDelivered: place + 1 });
    }
    await closing;
  });

  test("is told its count of tokens", async () => {
    const { script, model } = await startModel();
    const waiting = model.generate("a").text();
    const request = await script.next("generate");
    script.tokens(request, 0, 3);
    script.done(request, "cancelled", { stage: "decode" });
    await assert.rejects(waiting, { code: "cancelled", tokensDelivered: 3 });
  });

  test("is told that a load was cancelled", async () => {
    const { script, worker } = await startScripted();
    const loading = worker.load("p");
    script.done(await script.next("load"), "cancelled", { stage: "queued" });
    await assert.rejects(loading, RequestCancelled);
  });

  test("is told of a protocol violation if a result was due and nothing was cancelled", async () => {
    const { script, model } = await startModel();
    const waiting = model.refreshInfo();
    script.done(await script.next("info"), "stop");
    await assert.rejects(waiting, ProtocolViolation);
  });

  test("is told that the stream's own cancel() ended it", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const waiting = stream.text();
    const request = await script.next("generate");
    const leaving = stream.cancel();
    script.done(request, "cancelled", { stage: "decode" });
    await assert.rejects(waiting, RequestCancelled);
    script.answer(await script.next("cancel"), { outcome: "accepted", cancelled: 1 });
    await leaving;
  });
});
