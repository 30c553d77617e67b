import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  type MemoryOptions,
  type Model,
  ShuttingDown,
  type Worker,
  WorkerCrashed,
} from "../../src/index.js";
import { MEMORY } from "../../src/wire/replies.js";
import { AT_ONCE, loadOn, Scripts } from "../support/scriptedRestarts.js";
import { LOADED, ScriptedWorker, startModel } from "../support/scriptedWorker.js";

/** The answer to a `memory`. */
const NO_BYTES = Object.fromEntries(Object.keys(MEMORY).map((name) => [name, 0]));

async function setOn(worker: Worker, script: ScriptedWorker, limits: MemoryOptions) {
  const setting = worker.memory(limits);
  script.answer(await script.next("memory"), NO_BYTES);
  await setting;
}

/** Ask all prompts at once and let the worker die of them. Gives their failures and the next process. */
async function killedBy(scripts: Scripts, model: Model, script: ScriptedWorker, prompts: string[]) {
  const asking = prompts.map((prompt) => model.generate(prompt).text());
  for (const _ of prompts) {
    await script.next("generate");
  }
  script.exit(null, "SIGSEGV");
  const failures: WorkerCrashed[] = [];
  for (const asked of asking) {
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof WorkerCrashed);
      return failures.push(error) > 0;
    });
  }
  const waiting = model.generate("harmless").text(); // keeps the event loop
  const next = await scripts.next();
  next.answer(await next.next("load"), LOADED);
  next.done(await next.next("generate"));
  await waiting;
  return { failures, next };
}

suite("a request that kills each worker", () => {
  test("is told so if it was alone at two crashes in a row", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start({ restart: { ...AT_ONCE, maxRestarts: 9 } });
    let script = await scripts.next();
    const model = await loadOn(worker, script);
    const told: unknown[] = [];
    const rounds = [["poison"], ["poison"], ["poison", "b"], ["poison"], ["other"], ["poison"]];
    for (const prompts of rounds) {
      const { failures, next } = await killedBy(scripts, model, script, prompts);
      told.push(failures.map(({ inFlight, retryable }) => [inFlight, retryable]));
      script = next;
    }
    assert.deepEqual(told, [
      [[1, true]],
      [[1, false]],
      [
        [2, true],
        [2, true],
      ],
      [[1, true]],
      [[1, true]],
      [[1, true]],
    ]);
    await worker.close();
  });

  test("is forgotten by restart()", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    const script = await scripts.next();
    const model = await loadOn(worker, script);
    const { next } = await killedBy(scripts, model, script, ["poison"]);
    const restarted = worker.restart();
    const fresh = await scripts.next();
    fresh.answer(await fresh.next("load"), LOADED);
    await restarted;
    assert.deepEqual(next.steps, ["quit"]);
    const { failures } = await killedBy(scripts, model, fresh, ["poison"]);
    assert.equal(failures[0]?.retryable, true);
    await worker.close();
  });

  test("is counted without the cancels on their way", async () => {
    const { script, model } = await startModel();
    const asked = model.generate("a").text();
    await script.next("generate");
    script.connection.sendCancel("r0");
    script.exit(null, "SIGSEGV");
    await assert.rejects(asked, { inFlight: 1 });
  });
});

suite("a worker with restart", () => {
  test("starts another process after a crash, with the model in it, and repeats no request", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    const first = await scripts.next();
    const model = await loadOn(worker, first);
    const lost = model.generate("lost").text();
    await first.next("generate");
    first.exit(1);
    await assert.rejects(lost, WorkerCrashed);
    const text = model.generate("next").text();
    const second = await scripts.next();
    const load = await second.next("load");
    assert.equal(load.context_len, 9);
    second.answer(load, LOADED);
    const request = await second.next("generate");
    assert.equal(request.prompt, "next");
    second.tokens(request, 0, 1);
    second.done(request);
    assert.equal(await text, "t0 ");
    assert.equal(second.unread.length, 0);
    assert.deepEqual(scripts.kinds, [
      ...["started", "ready", "crashed", "restarting"],
      ...["started", "ready"],
    ]);
    await worker.close();
    assert.equal(worker.state, "closed");
  });

  test("sets limits of memory again after the load, and forgets a model's limits with the model", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    const first = await scripts.next();
    await loadOn(worker, first, { adapterPath: "lora", memoryLimit: 9 });
    await setOn(worker, first, { memoryLimit: 1, bufferLimit: 2 });
    await setOn(worker, first, {
      bufferLimit: 3,
      wiredLimit: null,
      clear: true,
      timeoutMs: 9e4,
    });
    const refused = worker.memory({ wiredLimit: 7 });
    first.fail(await first.next("memory"), "invalid_params");
    await assert.rejects(refused, { code: "invalid_params" });
    first.exit(1);
    const model = worker.load("other"); // waits, and keeps the event loop

    const second = await scripts.next();
    const load = await second.next("load");
    assert.deepEqual(load, {
      ...{ id: load.id, cmd: "load", path: "any", adapter_path: "lora", memory_limit: 9 },
    });
    second.answer(load, LOADED);
    const memory = await second.next("memory");
    assert.deepEqual(memory, { id: memory.id, cmd: "memory", memory_limit: 1, buffer_limit: 3 });
    second.answer(memory, NO_BYTES);
    second.answer(await second.next("load"), LOADED);
    await model;
    second.exit(1);
    const figures = worker.memory();

    const third = await scripts.next();
    third.answer(await third.next("load"), LOADED);
    const rest = await third.next("memory");
    assert.deepEqual(rest, { id: rest.id, cmd: "memory", buffer_limit: 3 });
    third.answer(rest, NO_BYTES);
    third.answer(await third.next("memory"), NO_BYTES);
    await figures;
    await worker.close();
  });

  test("gives up after a crash loop, until restart() is called", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start({ restart: { ...AT_ONCE, maxRestarts: 1 } });
    const first = await scripts.next();
    const model = await loadOn(worker, first);
    first.exit(1);
    const lost = model.generate("a").text();
    const second = await scripts.next();
    second.answer(await second.next("load"), LOADED);
    await second.next("generate");
    second.exit(null, "SIGABRT");
    await assert.rejects(lost, { code: "worker_crashed", retryable: true });
    await assert.rejects(model.generate("b").text(), {
      ...{ code: "worker_crashed", retryable: false, signal: "SIGABRT", inFlight: 1 },
      message: /died 2 times within 300 s, 1 of them with requests in flight/,
    });
    assert.equal(worker.state, "failed");
    assert.equal(scripts.kinds.at(-1), "gaveUp");
    const restarting = worker.restart();
    const third = await scripts.next();
    third.answer(await third.next("load"), LOADED);
    await restarting;
    assert.equal(worker.state, "ready");
    await worker.close();
  });

  test("advises nobody to start the process that it starts itself", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start({ restart: { ...AT_ONCE, maxRestarts: 3 } });
    let script = await scripts.next();
    const model = await loadOn(worker, script);
    for (const end of [
      () => script.exit(1),
      () => script.say({ id: "none", type: "result", final: true }),
    ]) {
      const asked = model.generate("a").text();
      await script.next("generate");
      end();
      await assert.rejects(asked, { message: /Another one is started.* by itself$/ });
      const waiting = model.generate("b").text();
      script = await scripts.next();
      script.answer(await script.next("load"), LOADED);
      script.done(await script.next("generate"));
      await waiting;
    }
    script.exit(1);
    const waiting = model.generate("c").text();
    script = await scripts.next();
    await script.next("load");
    script.exit(7);
    await assert.rejects(waiting, { message: /The last time: the worker exited with code 7$/ });
    const told = scripts.changes.flatMap((change) =>
      change.kind === "crashed" ? change.error : [],
    );
    assert.equal(told.length, 4);
    for (const { message } of told) {
      assert.match(message, /Another one is started/);
    }
    await worker.close();
    await assert.rejects(worker.restart(), { message: /^this worker was closed/ });
  });

  test("rejects if the first start fails, and tries no other by itself", async () => {
    const scripts = new Scripts();
    const broken = new ScriptedWorker();
    broken.greeting = { protocol: 9 };
    scripts.planned.push(broken);
    await assert.rejects(scripts.start(), { code: "handshake_failed" });
    assert.deepEqual(scripts.kinds, ["crashed"]);
  });

  test("never sends a request that was left while it waited for a process", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    const first = await scripts.next();
    const model = await loadOn(worker, first);
    first.exit(1);
    const stream = model.generate("left");
    const step = stream.next();
    const waiting = model.generate("kept").text();
    const cut = assert.rejects(step, { code: "cancelled", tokensDelivered: 0 });
    await stream.cancel();
    await cut;
    const second = await scripts.next();
    second.answer(await second.next("load"), LOADED);
    second.done(await second.next("generate"));
    await waiting;
    assert.equal((await stream.done).stage, "queued");
    assert.equal(second.unread.length, 0);
    await worker.close();
  });

  test("fails requests that wait for a process when it is closed", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start({
      restart: { backoffMinMs: 600_000, backoffMaxMs: 600_000 },
    });
    const script = await scripts.next();
    const model = await loadOn(worker, script);
    const lost = model.generate("lost").text();
    await script.next("generate");
    script.exit(1);
    await assert.rejects(lost, WorkerCrashed);
    const waiting = assert.rejects(model.generate("a").text(), ShuttingDown);
    await worker.close();
    await waiting;
    await assert.rejects(model.generate("b").text(), ShuttingDown);
  });
});
