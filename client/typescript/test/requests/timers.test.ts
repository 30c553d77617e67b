/** A timer left behind keeps the host's event loop running, or fires when nobody expects it. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Spawn } from "../../src/process/process.js";
import { startWorker } from "../../src/worker.js";
import {
  type Request,
  ScriptedWorker,
  startModel,
  startScripted,
} from "../support/scriptedWorker.js";

const LONG_MS = 600_000;

/** Count the timers that run. */
function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
}

suite("no timer is left behind", () => {
  test("by a start", async () => {
    const before = timers();
    await startScripted();
    assert.equal(timers(), before);
  });

  test("by a request that was answered", async () => {
    const { worker, script } = await startScripted();
    const before = timers();
    const asked = worker.cancel("r", { timeoutMs: LONG_MS });
    assert.equal(timers(), before + 1);
    script.answer(await script.next("cancel"), { outcome: "unknown", cancelled: 0 });
    await asked;
    assert.equal(timers(), before);
  });

  test("by a stream that ended, nor by one that was left", async () => {
    const { script, model } = await startModel();
    const before = timers();
    for (const left of [false, true]) {
      const stream = model.generate("a", { timeoutMs: LONG_MS, idleTimeoutMs: LONG_MS });
      const step = stream.next();
      const request = await script.next("generate");
      assert.equal(timers(), before + 2);
      script.tokens(request, 0, 1);
      await step;
      const leaving = left ? stream.cancel() : stream.next();
      assert.equal(timers(), before + (left ? 1 : 2)); // the drain's
      script.done(request, left ? "cancelled" : "stop");
      await leaving;
      assert.equal(timers(), before);
    }
  });

  test("by a request whose signal had aborted before", async () => {
    const { worker, script } = await startScripted();
    const before = timers();
    const asked = worker.cancel("r", { timeoutMs: LONG_MS, signal: AbortSignal.abort("why") });
    await assert.rejects(asked, (error) => error === "why");
    assert.deepEqual([timers(), script.unread.length], [before, 0]);
  });

  test("by a restart that waited for requests, nor by a pause that a close ended", async () => {
    const scripts: ScriptedWorker[] = [];
    const spawn: Spawn = (...args) => {
      const script = new ScriptedWorker();
      scripts.push(script);
      return script.spawn(...args);
    };
    const before = timers();
    const pauses = { backoffMinMs: LONG_MS, backoffMaxMs: LONG_MS };
    const options = { command: "scripted", liveness: null, restart: pauses };
    const worker = await startWorker(options, { spawn });
    const [first] = scripts;
    const asked = worker.cancel("r");
    const restarting = worker.restart(LONG_MS);
    const request = await first?.next("cancel");
    assert.equal(timers(), before + 1);
    first?.answer(request as Request, { outcome: "unknown", cancelled: 0 });
    await Promise.all([asked, restarting]);
    assert.equal(timers(), before);
    scripts[1]?.exit(1);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(worker.state, "restarting");
    await worker.close();
    assert.equal(timers(), before);
  });

  test("by a lost pipe that an exit explains", async () => {
    const before = timers();
    const { script } = await startScripted();
    script.losePipe("stdout");
    script.losePipe("stdin");
    assert.equal(timers(), before + 1);
    script.exit(1);
    assert.equal(timers(), before);
  });

  test("by a lost pipe of a worker that is being closed", async () => {
    const before = timers();
    const { worker, script } = await startScripted();
    script.deafTo = ["quit", "stdin", "SIGTERM"];
    script.losePipe("stdout");
    const closing = worker.close();
    assert.equal(timers(), before);
    await closing;
    assert.deepEqual(script.steps, ["quit", "stdin", "stdin", "SIGTERM", "SIGKILL"]);
  });
});
