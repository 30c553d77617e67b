import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { suite, test } from "node:test";
import {
  ContextOverflow,
  UnsupportedCapability,
  Worker,
  WorkerCrashed,
  type WorkerEvent,
} from "../src/index.js";
import { Deferred } from "../src/requests/callbacks.js";
import { repositoryPath, skipWithoutWorker as skip, workerCommand } from "./support/repository.js";

const MOCK = { command: workerCommand("mock"), startTimeoutMs: 120_000 };
const TINY = { command: workerCommand("mlx"), startTimeoutMs: 120_000 };
const ENDLESS = { maxTokens: 1_000_000, ignoreEos: true };

suite("a session with the mock engine", { skip }, () => {
  test("answers every kind of request", async () => {
    await using worker = await Worker.start(MOCK);
    assert.equal(worker.identity.pid, worker.pid);
    const model = await worker.load("any");
    assert.equal(await model.generate("one two three", { maxTokens: 2 }).text(), "one two");
    assert.equal(
      await model.chat([{ role: "user", content: "hello there" }]).text(),
      "hello there",
    );
    const items = await model.classify(["a", "b"], { logits: true });
    assert.deepEqual(
      items.map(({ index, logits }) => [index, Array.isArray(logits)]),
      [
        [0, true],
        [1, true],
      ],
    );
    const batch = await model.batch(["a b", "c d"], { maxTokens: 1 }).items();
    assert.deepEqual(
      batch.map(({ text, finishReason }) => [text, finishReason]),
      [
        ["a", "length"],
        ["c", "length"],
      ],
    );
    const { ids, count, pieces } = await model.tokenize("a b");
    assert.deepEqual([count, pieces], [2, ["a", " b"]]);
    assert.equal(await model.detokenize(ids ?? []), "a b");
    assert.equal((await model.refreshInfo()).modelType, model.info.modelType);
    assert.equal((await model.cache.stats()).affected, 0);
    assert.ok((await worker.memory({ clear: true })).activeBytes >= 0);
    assert.ok((await worker.metrics()).requests > 0);
    assert.equal((await worker.cancel("nobody")).outcome, "unknown");
    await model.unload();
  });

  test("cancels a stream that is left early, and goes on", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const stream = model.generate("a b c", ENDLESS);
    for await (const token of stream) {
      if (token.seq === 600) {
        break; // past the first window
      }
    }
    assert.equal((await stream.done).finishReason, "cancelled");
    const controller = new AbortController();
    const reading = (async () => {
      for await (const token of model.generate("a", { ...ENDLESS, signal: controller.signal })) {
        if (token.seq === 3) {
          controller.abort(new Error("mine"));
        }
      }
    })();
    await assert.rejects(reading, { message: "mine" });
    assert.equal(await model.generate("again").text(), "again");
    assert.equal((await worker.metrics()).inFlight, 0);
  });

  test("serves many streams while one is not read", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const sleeper = model.generate("sleeper", ENDLESS);
    await sleeper.next();
    const texts = Array.from({ length: 8 }, (_, place) =>
      model.generate(`prompt ${place}`, { maxTokens: 1000, ignoreEos: true }).text(),
    );
    for (const [place, text] of (await Promise.all(texts)).entries()) {
      assert.ok(text.startsWith(`prompt ${place}`));
    }
    assert.equal((await sleeper.next()).value?.seq, 1);
    await sleeper.cancel();
  });

  test("reports a crash with its signal", { skip: process.platform === "win32" }, async () => {
    const worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const stream = model.generate("a", ENDLESS);
    await stream.next();
    process.kill(worker.pid, "SIGKILL");
    const reading = (async () => {
      for await (const _ of stream.chunks()) {
        // until it fails
      }
    })();
    await assert.rejects(reading, (error) => {
      assert.ok(error instanceof WorkerCrashed);
      assert.ok(error.tokensDelivered > 0);
      return error.signal === "SIGKILL";
    });
    await worker.close();
  });

  test("brings heartbeats and log lines", async () => {
    const beat = new Deferred<WorkerEvent>();
    await using worker = await Worker.start({
      ...MOCK,
      args: ["--heartbeat-seconds", "0.05"],
      events: ["heartbeat"],
      onEvent: beat.resolve,
    });
    const model = await worker.load("any");
    const stream = model.generate("a", ENDLESS); // keeps the event loop
    await stream.next();
    assert.equal((await beat.promise).event, "heartbeat");
  });

  test("keeps the host's event loop only while a request is in flight", async () => {
    const client = JSON.stringify(new URL("../src/index.js", import.meta.url).href);
    const script = `
      import { Worker } from ${client};
      const worker = await Worker.start(${JSON.stringify(MOCK)});
      const model = await worker.load("any");
      process.stdout.write(await model.generate("one two").text());`;
    const host = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    host.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const [exitCode] = await once(host, "close");
    assert.deepEqual([exitCode, output], [0, "one two"]);
  });
});

suite("a session with a real model", { skip }, () => {
  test("adds two and three", async () => {
    await using worker = await Worker.start(TINY);
    const model = await worker.load(repositoryPath("testdata/tiny"));
    assert.equal(await model.chat("What is 2 + 3?", { maxTokens: 8 }).text(), "5");
    assert.equal(model.metrics?.generatedTokens, 1);
    const { count } = await model.tokenizeChat("What is 2 + 3?", { countOnly: true });
    assert.equal(count, model.metrics?.promptTokens);
    const stream = model.chat("What is 2 + 3?", { maxTokens: 1, logprobs: true, topLogprobs: 2 });
    const { value } = await stream.next();
    assert.ok(value && value.logprob !== null && value.logprob <= 0);
    assert.equal(value.topLogprobs?.[0]?.tokenId, value.tokenId);
    const { ids, answerStart, messages } = await model.render("What is 2 + 3?");
    assert.deepEqual([ids.length, messages[0]?.count], [count, answerStart]);
    const texts = ["2 + 3", "x".repeat(40_000), ids];
    const [vector, failed, ofIds] = await model.embed(texts, { pooling: "mean" });
    assert.equal(vector?.vector.length, model.info.hiddenSize);
    assert.ok(failed?.error instanceof ContextOverflow);
    assert.equal(ofIds?.tokens, count);
    const [score] = await model.score([ids]);
    assert.deepEqual([score?.tokenIds, score?.logprobs[0]], [ids, null]);
    const [answer] = await model.classifyChats(["What is 2 + 3?"], { labels: ["5", "7"] });
    assert.equal(answer?.label, "5");
    await assert.rejects(model.rerank("q", ["d"]), UnsupportedCapability);
    const [found] = await worker.discover(repositoryPath("testdata"));
    assert.equal(found?.name, "tiny");
    assert.ok((await worker.fit(found.path, { contextLen: 512 })).fits);
  });
});
