import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  DrainTimeout,
  RequestCancelled,
  SlowConsumer,
  type Token,
  WorkerCrashed,
} from "../src/index.js";
import { startModel, withoutWindows } from "./support/scriptedWorker.js";

/** Take `count` messages of a stream, one by one. */
async function take(stream: AsyncIterator<Token>, count: number): Promise<string[]> {
  const texts: string[] = [];
  for (let taken = 0; taken < count; taken += 1) {
    const { value } = await stream.next();
    texts.push(value.text);
  }
  return texts;
}

suite("a stream", () => {
  test("sends its request at the first next(), under the id that `id` told before", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a", { maxTokens: 3, topK: 2, seed: null });
    assert.equal(script.unread.length, 0);
    const step = stream.next();
    const request = await script.next("generate");
    assert.deepEqual(request, {
      ...{ id: stream.id, cmd: "generate", max_tokens: 3, top_k: 2, prompt: "a", window: 256 },
    });
    script.tokens(request, 0, 1);
    assert.deepEqual(await step, {
      done: false,
      value: {
        ...{ seq: 0, text: "t0 ", tokenId: 100, flush: false },
        ...{ index: null, channel: null, logprob: null, topLogprobs: null, toolCall: null },
      },
    });
  });

  test("gives each token once, and `done` tells how the stream ended", async () => {
    const { script, model } = await startModel();
    const stream = model.chat("hello", { thinking: false });
    const reading = collect(stream);
    const request = await script.next("chat");
    assert.deepEqual(request.messages, [{ role: "user", content: "hello" }]);
    assert.equal(request.thinking, false);
    script.tokens(request, 0, 2);
    script.tokens(request, 2, 3);
    script.done(request, "length", { metrics: { prompt_tokens: 7 } });
    assert.deepEqual(
      (await reading).map((token) => token.seq),
      [0, 1, 2],
    );
    const { finishReason, tokensGenerated, metrics, stage } = await stream.done;
    assert.deepEqual([finishReason, tokensGenerated, stage], ["length", 3, null]);
    assert.equal(metrics.promptTokens, 7);
    assert.equal(model.metrics, metrics);
  });

  test("gives all messages at hand as chunks", async () => {
    const { script, model } = await startModel();
    const chunks = model.generate("a").chunks();
    const first = chunks.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 5);
    assert.equal((await first).value?.length, 5);
    script.tokens(request, 5, 6);
    script.tokens(request, 6, 8);
    assert.deepEqual(
      (await chunks.next()).value?.map((token) => token.seq),
      [5, 6, 7],
    );
    script.done(request);
    assert.deepEqual(await chunks.next(), { done: true, value: undefined });
  });

  test("gives its text again when text() is called twice", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const texts = [stream.text(), stream.text()];
    const request = await script.next("generate");
    script.tokens(request, 0, 2);
    script.say({
      id: request.id,
      type: "token",
      seq: 2,
      token: "?",
      token_id: 1,
      channel: "aside",
    });
    script.done(request);
    assert.deepEqual(await Promise.all(texts), ["t0 t1 ", "t0 t1 "]);
  });

  test("gives the whole text once tokens were taken", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const step = stream.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 3);
    await step;
    const text = stream.text();
    script.done(request);
    assert.deepEqual(await Promise.all([text, stream.text()]), ["t0 t1 t2 ", "t0 t1 t2 "]);
  });

  test("gives no text after a loop over it was left", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const leaving = (async () => {
      for await (const _ of stream) break;
    })();
    const request = await script.next("generate");
    script.tokens(request, 0, 2);
    await script.next("cancel");
    script.done(request, "cancelled");
    await leaving;
    await assert.rejects(stream.text(), RequestCancelled);
  });

  test("fails with the worker's error, after the tokens that came before", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const first = take(stream, 2);
    const request = await script.next("generate");
    script.tokens(request, 0, 2);
    script.fail(request, "out_of_memory", { retryable: true });
    assert.deepEqual(await first, ["t0 ", "t1 "]);
    const expected = { code: "out_of_memory", retryable: true, tokensDelivered: 2 };
    await assert.rejects(stream.next(), expected);
    await assert.rejects(stream.done, expected);
  });

  test("leaves no unhandled rejection if nobody reads its failure", async (t) => {
    const unhandled = t.mock.fn();
    process.once("unhandledRejection", unhandled);
    const { script, model } = await startModel();
    const step = model.generate("a").next();
    script.fail(await script.next("generate"), "internal");
    await assert.rejects(step);
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", unhandled);
    assert.equal(unhandled.mock.callCount(), 0);
  });
});

suite("a second pass over a stream", () => {
  const isError = /was iterated already/;

  test("is refused after the end, by every way to iterate", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const reading = collect(stream);
    const request = await script.next("generate");
    script.tokens(request, 0, 2);
    script.done(request);
    assert.equal((await reading).length, 2);
    await assert.rejects(collect(stream), isError);
    assert.throws(() => stream.chunks(), isError);
    assert.equal(await stream.text(), "t0 t1 ");
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
  });

  test("is refused after an error, and next() repeats the error", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const reading = collect(stream);
    script.fail(await script.next("generate"), "internal");
    await assert.rejects(reading, { code: "internal" });
    await assert.rejects(collect(stream), isError);
    await assert.rejects(stream.next(), { code: "internal" });
  });

  test("is refused after a break, and sends nothing", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    await stream.return();
    await assert.rejects(collect(stream), isError);
    assert.equal(script.unread.length, 0);
  });

  test("of chunks is refused too", async () => {
    const { script, model } = await startModel();
    const chunks = model.generate("a").chunks();
    const reading = collect(chunks);
    script.done(await script.next("generate"));
    await reading;
    await assert.rejects(collect(chunks), isError);
  });

  test("may go on with what a first next() left", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const step = stream.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 3);
    script.done(request);
    await step;
    assert.equal((await collect(stream)).length, 2);
  });

  test("is not one that items() makes when it is called twice", async () => {
    const { script, model } = await startModel();
    const stream = model.batch(["a"]);
    const items = [stream.items(), stream.items()];
    const { id, cmd } = await script.next("batch");
    const item = { text: "t", token_ids: [1], finish_reason: "stop", tokens_generated: 1 };
    script.say({ id, type: "item", index: 0, ...item, error: null });
    script.done({ id, cmd });
    const [first, second] = await Promise.all(items);
    assert.equal(first?.length, 1);
    assert.equal(second, first);
  });

  test("is what items() would make once messages were taken", async () => {
    const { script, model } = await startModel();
    const stream = model.batch(["a"]);
    const step = stream.next();
    script.done(await script.next("batch"));
    await step;
    await assert.rejects(stream.items(), /were taken already/);
  });
});

suite("a stream that was cancelled before it began", () => {
  test("fails each way to read it, and has a `done`", async () => {
    const { script, model } = await startModel();
    const streams = [model.generate("a"), model.generate("a"), model.generate("a")] as const;
    for (const stream of streams) {
      await stream.cancel();
    }
    await assert.rejects(streams[0].text(), { code: "cancelled" });
    await assert.rejects(streams[1].next(), { code: "cancelled" });
    await assert.rejects(collect(streams[2].chunks()), { code: "cancelled" });
    assert.equal((await streams[0].done).finishReason, "cancelled");
    assert.equal(script.unread.length, 0);
  });
});

test("an abort after the worker has finished leaves `done` as it was", async () => {
  const { script, model } = await startModel();
  const controller = new AbortController();
  const chunks = model.generate("a", { signal: controller.signal });
  const step = chunks.next();
  const request = await script.next("generate");
  script.tokens(request, 0, 3);
  script.done(request);
  await step;
  controller.abort();
  assert.equal((await chunks.done).finishReason, "stop");
  await assert.rejects(collect(chunks), { name: "AbortError" });
});

suite("leaving a stream", () => {
  test("cancels it in the worker and waits for its end", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    let left = false;
    const loop = (async () => {
      for await (const token of stream) {
        if (token.seq === 1) {
          break;
        }
      }
      left = true;
    })();
    const request = await script.next("generate");
    script.tokens(request, 0, 3);
    const cancel = await script.next("cancel");
    assert.equal(cancel.target, request.id);
    script.tokens(request, 3, 4);
    script.answer(cancel, { outcome: "accepted", cancelled: 1 });
    assert.equal(left, false);
    script.done(request, "cancelled", { stage: "decode" });
    await loop;
    const { finishReason, stage } = await stream.done;
    assert.deepEqual([finishReason, stage], ["cancelled", "decode"]);
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
  });

  test("does nothing if the stream ended in the same turn", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    const step = stream.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 1);
    await step;
    const cancelled = stream.cancel();
    script.done(request, "stop");
    script.answer(await script.next("cancel"), { outcome: "finished", cancelled: 0 });
    await cancelled;
    assert.equal((await stream.done).finishReason, "stop");
  });

  test("sends nothing if the request was not sent yet", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a");
    await stream.cancel();
    await stream.cancel();
    assert.equal((await stream.done).finishReason, "cancelled");
    assert.equal(script.unread.length, 0);
  });

  test("fails if the worker does not end the request in time", async () => {
    const { script, model } = await startModel({ drainTimeoutMs: 20 });
    const stream = model.generate("a");
    const step = stream.next();
    script.tokens(await script.next("generate"), 0, 1);
    await step;
    await assert.rejects(stream.cancel(), DrainTimeout);
    await assert.rejects(stream.cancel(), DrainTimeout);
    await assert.rejects(stream.done, { code: "drain_timeout", tokensDelivered: 1 });
  });
});

suite("an abort signal", () => {
  test("cancels the request, and the stream rejects with the signal's reason", async () => {
    const { script, model } = await startModel();
    const controller = new AbortController();
    const stream = model.generate("a", { signal: controller.signal });
    const step = stream.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 2);
    await step;
    const reason = new Error("mine");
    controller.abort(reason);
    const isReason = (error: unknown): boolean => error === reason;
    await assert.rejects(stream.next(), isReason);
    await assert.rejects(stream.done, isReason);
    assert.equal((await script.next("cancel")).target, request.id);
    script.done(request, "cancelled");
  });

  test("sends nothing if it had aborted before", async () => {
    const { script, model } = await startModel();
    const stream = model.generate("a", { signal: AbortSignal.abort("why") });
    await assert.rejects(stream.next(), (error) => error === "why");
    assert.equal(script.unread.length, 0);
  });

  test("may be shared by many requests, and is let go by each", async (t) => {
    const warned = t.mock.fn();
    process.once("warning", warned);
    const { script, worker } = await startModel();
    const { signal } = new AbortController();
    const asked = Array.from({ length: 50 }, () => worker.cancel("r", { signal }));
    for (const _ of asked) {
      script.answer(await script.next("cancel"), { outcome: "unknown", cancelled: 0 });
    }
    await Promise.all(asked);
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", warned);
    assert.equal(warned.mock.callCount(), 0);
  });
});

suite("a slow consumer", () => {
  test("holds up its own stream by giving no credit", async () => {
    const { script, model } = await startModel({ window: 4 });
    const stream = model.generate("a");
    const first = take(stream, 1);
    const request = await script.next("generate");
    assert.equal(request.window, 4);
    script.tokens(request, 0, 4);
    await first;
    assert.equal(script.unread.length, 0);
    await take(stream, 1);
    const credit = await script.next("credit");
    assert.deepEqual([credit.target, credit.n], [request.id, 2]);
    await take(stream, 2);
    assert.equal((await script.next("credit")).n, 2);
  });

  test("does not hold up another stream", async () => {
    const { script, model } = await startModel({ window: 4 });
    const sleeper = model.generate("a");
    const step = sleeper.next();
    const request = await script.next("generate");
    script.tokens(request, 0, 2);
    await step;
    const text = model.generate("b").text();
    const other = await script.next("generate");
    script.tokens(other, 0, 2);
    script.done(other);
    assert.equal(await text, "t0 t1 ");
  });

  test("loses its stream if the worker knows no windows and the buffer overflows", async () => {
    const { script, model } = await startModel({ bufferBytes: 2000 }, withoutWindows());
    const stream = model.generate("a");
    const step = stream.next();
    const request = await script.next("generate");
    assert.equal("window" in request, false);
    script.tokens(request, 0, 5);
    await step;
    const text = model.generate("b").text();
    const other = await script.next("generate");
    script.tokens(request, 5, 40);
    assert.equal((await script.next("cancel")).target, request.id);
    await assert.rejects(stream.done, SlowConsumer);
    script.done(request, "cancelled");
    script.tokens(other, 0, 1);
    script.done(other);
    assert.equal(await text, "t0 ");
  });
});

suite("a crash", () => {
  test("fails each pending request with the cause and the request's own token count", async () => {
    const { script, worker, model } = await startModel();
    const streams = [model.generate("a"), model.generate("b")];
    const steps = streams.map((stream) => stream.next());
    for (const count of [1, 3]) {
      script.tokens(await script.next("generate"), 0, count);
    }
    await Promise.all(steps);
    const asked = worker.metrics();
    script.log("out of luck\n");
    script.exit(null, "SIGSEGV");
    const [one, other] = streams;
    assert.ok(one && other);
    await assert.rejects(one.next(), (error) => {
      assert.ok(error instanceof WorkerCrashed);
      const { code, retryable, exitCode, signal, stderrTail, tokensDelivered } = error;
      assert.deepEqual([code, retryable], ["worker_crashed", true]);
      assert.deepEqual([exitCode, signal, stderrTail], [null, "SIGSEGV", "out of luck\n"]);
      assert.equal(tokensDelivered, 1);
      return true;
    });
    assert.deepEqual(await take(other, 2), ["t1 ", "t2 "]);
    await assert.rejects(other.next(), { tokensDelivered: 3 });
    await assert.rejects(asked, WorkerCrashed);
    await assert.rejects(model.generate("c").text(), WorkerCrashed);
    assert.deepEqual(await worker.closed, { exitCode: null, signal: "SIGSEGV" });
  });
});

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const message of stream) {
    all.push(message);
  }
  return all;
}
