/** The end of a connection, in the orders in which its parts may come. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Child, Spawn } from "../../src/process/process.js";
import { Deferred } from "../../src/requests/callbacks.js";
import { startWorker } from "../../src/worker.js";
import { ScriptedWorker, startModel, startScripted } from "../support/scriptedWorker.js";

/** Count the timers that run. */
function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
}

/** Wait until a worker was asked to quit. */
async function quitting(script: ScriptedWorker): Promise<void> {
  while (!script.steps.includes("quit")) {
    await new Promise(setImmediate);
  }
}

test("a connection tells its process to hold the host once for many requests", async () => {
  const { worker, script } = await startScripted();
  const told: boolean[] = [];
  script.hold = (held) => told.push(held);
  const asked = ["a", "b", "c"].map((id) => worker.cancel(id));
  for (const _ of asked) {
    script.answer(await script.next("cancel"), { outcome: "unknown", cancelled: 0 });
  }
  await Promise.all(asked);
  assert.deepEqual(told, [true, false]);
  await worker.close();
});

suite("a connection that ends", () => {
  test("takes a last reply without its line end", async () => {
    const { worker, script } = await startScripted();
    const asked = worker.cancel("r");
    const { id } = await script.next("cancel");
    const result = { id, type: "result", final: true, outcome: "unknown", cancelled: 0 };
    script.connection.stdoutReceived(Buffer.from(JSON.stringify(result)));
    script.exit(1);
    assert.deepEqual(await asked, { outcome: "unknown", cancelled: 0 });
  });

  test("waits for no exit that would explain a lost pipe, once its host closes it", async () => {
    const { worker, script } = await startScripted();
    script.deafTo = ["quit"];
    const before = timers();
    const closing = worker.close();
    await quitting(script);
    script.losePipe("stdout");
    assert.equal(timers(), before);
    await closing;
  });

  test("keeps the host for a worker that was killed, until it is gone", async () => {
    const { worker, script } = await startScripted();
    script.deafTo = ["SIGKILL"];
    const asked = worker.cancel("r");
    const request = await script.next("cancel");
    worker.kill();
    assert.equal(script.held, true);
    script.answer(request, { outcome: "unknown", cancelled: 0 });
    await asked;
    assert.equal(script.held, true);
    script.exit(null, "SIGKILL");
    assert.deepEqual(await worker.closed, { exitCode: null, signal: "SIGKILL" });
  });

  test("keeps the host for a worker that is being closed", async () => {
    const { worker, script } = await startScripted();
    script.deafTo = ["quit"];
    const closing = worker.close();
    await quitting(script);
    assert.equal(script.held, true);
    await closing;
    assert.equal(script.released, true);
  });

  test("keeps the host for a start that was aborted, also if hello is answered then", async () => {
    const script = new ScriptedWorker();
    script.greeting = null;
    script.deafTo = ["SIGTERM"];
    const controller = new AbortController();
    const starting = startScripted({ signal: controller.signal }, script);
    await script.greeted;
    controller.abort(new Error("enough"));
    while (!script.steps.includes("SIGTERM")) {
      await Promise.resolve();
    }
    assert.ok(script.hello);
    script.fail(script.hello, "internal");
    assert.equal(script.held, true);
    await assert.rejects(starting, { message: "enough" });
  });

  test("ends a process whose spawn it overtook", async () => {
    const script = new ScriptedWorker();
    const [asked, spawned] = [new Deferred<void>(), new Deferred<Child>()];
    const spawn: Spawn = async (...args) => {
      await script.spawn(...args);
      asked.resolve();
      return spawned.promise;
    };
    const controller = new AbortController();
    const starting = startWorker({ command: "scripted", signal: controller.signal }, { spawn });
    await asked.promise;
    controller.abort(new Error("enough"));
    spawned.resolve(script);
    await assert.rejects(starting, { message: "enough" });
    assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
  });

  test("sends nothing after its quit, not even a cancel", async () => {
    const { worker, script, model } = await startModel();
    script.deafTo = ["quit", "stdin"];
    const stream = model.generate("a");
    const step = stream.next();
    const request = await script.next("generate");
    const closing = worker.close();
    await quitting(script);
    const cut = assert.rejects(step, { code: "cancelled" });
    const leaving = stream.cancel();
    script.done(request, "cancelled", { stage: "decode" });
    await Promise.all([cut, leaving, closing]);
    assert.deepEqual(script.unread, []);
  });

  test("tells each error of a kill, a restart or a crash the requests in flight", async () => {
    const { worker, script, model } = await startModel();
    const lost = [model.generate("a").text(), model.refreshInfo()];
    await script.next("generate");
    await script.next("info");
    worker.kill();
    for (const each of lost) {
      await assert.rejects(each, { code: "worker_crashed", inFlight: 2 });
    }
  });

  test("by a kill is told so, also if a close comes before the exit", async () => {
    const { worker, script, model } = await startModel();
    script.deafTo = ["SIGKILL", "quit", "stdin"];
    const lost = model.generate("a").text();
    await script.next("generate");
    worker.kill();
    const closing = worker.close();
    await quitting(script);
    script.exit(null, "SIGKILL");
    await assert.rejects(lost, { code: "worker_crashed", signal: "SIGKILL" });
    await closing;
  });

  test("before its spawn was awaited says no hello, and is reported by its exit", async () => {
    const script = new ScriptedWorker();
    const spawn: Spawn = async (...args) => {
      const child = await script.spawn(...args);
      script.exit(3);
      return child;
    };
    const starting = startWorker({ command: "scripted" }, { spawn });
    await assert.rejects(starting, { code: "handshake_failed", message: /exited with code 3/ });
    assert.equal(script.hello, null);
  });

  test("by a crash is not closed by a kill that comes later", async () => {
    const { worker, script } = await startScripted();
    script.exit(7);
    worker.kill();
    await worker.close();
    assert.equal(worker.state, "failed");
    await assert.rejects(worker.metrics(), { code: "worker_crashed", exitCode: 7 });
  });
});
