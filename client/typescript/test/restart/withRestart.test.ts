/** The parts of a `Worker` that differ with and without `restart`. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ShuttingDown, WorkerCrashed } from "../../src/index.js";
import { MEMORY } from "../../src/wire/replies.js";
import { loadOn, Scripts } from "../support/scriptedRestarts.js";
import { LOADED, startModel, startScripted } from "../support/scriptedWorker.js";

const LONG = { backoffMinMs: 600_000, backoffMaxMs: 600_000 };

suite("a worker without restart", () => {
  test("is failed once its process has died, and closed once its host has closed it", async () => {
    const died = await startScripted();
    assert.equal(died.worker.state, "ready");
    died.script.exit(1);
    assert.equal(died.worker.state, "failed");
    const left = await startScripted();
    await left.worker.close();
    assert.equal(left.worker.state, "closed");
  });

  test("refuses restart() by a typed error that names the option", async () => {
    const { worker, script } = await startScripted();
    await assert.rejects(worker.restart(), {
      ...{ code: "invalid_params", field: "restart" },
      message: /started without `restart`.*Worker\.start\(\{ restart: \{\} \}\)/,
    });
    assert.deepEqual([worker.state, script.steps], ["ready", []]);
    await worker.close();
  });

  test("refuses onChange, which only restarts have a use for", async () => {
    const start = startScripted({ onChange: () => undefined });
    await assert.rejects(start, { code: "invalid_params", field: "onChange" });
  });

  test("sends a request in the same turn in which it is asked", async () => {
    const { worker, script, model } = await startModel();
    const asked = [model.generate("a").next(), worker.cancel()];
    assert.deepEqual(
      script.unread.map(({ cmd }) => cmd),
      ["generate", "cancel"],
    );
    script.exit(null, "SIGKILL");
    await Promise.allSettled(asked);
  });
});

suite("a worker with restart", () => {
  test("asks the next process for what needs no model, and tells its identity", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    const first = await scripts.next();
    assert.equal(worker.identity.name, "scripted");
    first.log("last words\n");
    first.exit(1);
    assert.equal(worker.stderr, "last words\n");
    const cancelled = worker.cancel("r0");
    const second = await scripts.next();
    second.answer(await second.next("cancel"), { outcome: "unknown", cancelled: 0 });
    assert.equal((await cancelled).outcome, "unknown");
    assert.equal(worker.stderr, "");
    await worker.close();
  });

  test("unloads its model, which no later process is given", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    await worker.unload();
    const first = await scripts.next();
    const model = await loadOn(worker, first);
    const unloading = worker.unload();
    first.answer(await first.next("unload"), { ok: true });
    await unloading;
    await assert.rejects(model.generate("a").text(), { code: "model_not_loaded" });
    first.exit(1);
    const figures = worker.memory();
    const second = await scripts.next();
    const none = Object.fromEntries(Object.keys(MEMORY).map((name) => [name, 0]));
    second.answer(await second.next("memory"), none);
    await figures;
    await worker.close();
  });

  test("is ended for good by kill, and tells how its last process ended", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    const script = await scripts.next();
    const model = await loadOn(worker, script);
    const lost = model.generate("a").text();
    await script.next("generate");
    worker.kill();
    assert.equal(worker.state, "closed");
    await assert.rejects(lost, { code: "worker_crashed", signal: "SIGKILL", inFlight: 1 });
    assert.deepEqual(await worker.closed, { exitCode: null, signal: "SIGKILL" });
    assert.deepEqual(scripts.kinds, ["started", "ready"]);
    await assert.rejects(worker.restart(), ShuttingDown);
  });

  test("is not closed by a crash, but by the close that follows", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start({ restart: LONG });
    const script = await scripts.next();
    let closed = false;
    void worker.closed.then(() => {
      closed = true;
    });
    script.exit(3);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([worker.state, closed], ["restarting", false]);
    await worker.close();
    assert.deepEqual(await worker.closed, { exitCode: 3, signal: null });
  });

  test("has a watchdog unless liveness is null", async () => {
    for (const [liveness, events] of [
      [undefined, ["heartbeat"]],
      [null, []],
    ] as const) {
      const scripts = new Scripts();
      const worker = await scripts.start({ liveness });
      const script = await scripts.next();
      assert.deepEqual(script.hello?.events, events);
      await worker.close();
    }
  });

  test("loses what was in flight at a crash, and serves what comes after", async () => {
    const scripts = new Scripts();
    const worker = await scripts.start();
    const first = await scripts.next();
    const model = await loadOn(worker, first);
    const stream = model.generate("a");
    const step = stream.next();
    await first.next("generate");
    first.exit(1);
    await assert.rejects(step, WorkerCrashed);
    const next = model.generate("b").text();
    const second = await scripts.next();
    second.answer(await second.next("load"), LOADED);
    second.done(await second.next("generate"));
    assert.equal(await next, "");
    await worker.close();
  });
});
