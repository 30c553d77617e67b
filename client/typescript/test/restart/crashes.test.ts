/** The counting of crashes and restarts, and callers that wait for the next process. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type MlxwireError, Worker } from "../../src/index.js";
import type { StartedWorker } from "../../src/restart/startedWorker.js";
import { last, lead } from "../support/scriptedLife.js";
import { ScriptedWorker } from "../support/scriptedWorker.js";

const LONG = { backoffMinMs: 600_000, backoffMaxMs: 600_000 };

suite("a worker that is given up", () => {
  test("counts no requests in flight at a crash during a start", async () => {
    const refusing = new ScriptedWorker();
    refusing.greeting = { protocol: 9 };
    const planned = [new ScriptedWorker(), refusing];
    const { life, scripts } = lead(undefined, planned, { maxRestarts: 1 });
    const worker = await life.untilReady();
    const asked = assert.rejects(new Worker(worker).metrics(), { code: "worker_crashed" });
    last(scripts).exit(1);
    await asked;
    const failed = life.untilReady();
    await assert.rejects(failed, { message: /died 2 times .*, 1 of them with requests in flight/ });
    await life.close();
  });

  test("gives each caller an error of its own", async () => {
    const { life, scripts } = lead(undefined, [], { maxRestarts: 0 });
    await life.untilReady();
    last(scripts).exit(1);
    const ask = () =>
      life.untilReady().then(
        () => assert.fail(),
        (error: MlxwireError) => error,
      );
    const early = await Promise.all([ask(), ask()]);
    const late = await Promise.all([ask(), ask()]);
    assert.equal(new Set([...early, ...late]).size, 4);
    await life.close();
  });

  test("by a close in the turn of a crash starts no process and tells of no change", async () => {
    const { life, scripts, kinds } = lead(undefined, [], LONG);
    await life.untilReady();
    last(scripts).exit(1);
    await life.close();
    assert.deepEqual([kinds(), scripts.length], [["started", "ready"], 1]);
  });
});

suite("a crash", () => {
  test("during a load makes no request suspicious", async () => {
    const { life, scripts, changes } = lead(async (worker) => {
      if (scripts.length > 1) await worker.load("any", {});
    });
    await life.untilReady();
    last(scripts).exit(1);
    const waiting = assert.rejects(life.untilReady(), { code: "worker_crashed" });
    for (let count = 2; count <= 4; count += 1) {
      while (scripts.length < count) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      await last(scripts).next("load");
      last(scripts).exit(1);
    }
    await waiting;
    const crashes = changes.filter((change) => change.kind === "crashed");
    assert.equal(crashes.length, 4);
    for (const { error } of crashes) {
      assert.equal(error.retryable, true, error.message);
    }
    await life.close();
  });

  test("during the drain of a restart says that another process comes", async () => {
    const { life, scripts } = lead();
    const worker = await life.untilReady();
    const asked = assert.rejects(new Worker(worker).metrics(), {
      message: /Another one is started/,
    });
    const restarted = life.restart(600_000);
    last(scripts).exit(1);
    await asked;
    await restarted;
    assert.equal(scripts.length, 2);
    await life.close();
  });
});

suite("a pause before a restart", () => {
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;

  test("keeps the host only while a caller waits for the next process", async () => {
    const { life, scripts } = lead(undefined, [], LONG);
    const before = timers();
    await life.untilReady();
    last(scripts).exit(1);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([life.state, timers()], ["restarting", before]);
    const waiting = assert.rejects(life.untilReady(), { code: "shutting_down" });
    assert.equal(timers(), before + 1);
    await life.close();
    await waiting;
  });

  test("keeps the host from its beginning for a caller that asked before it", async () => {
    const { life, scripts } = lead(undefined, [], LONG);
    const before = timers();
    await life.untilReady();
    last(scripts).exit(1);
    const waiting = assert.rejects(life.untilReady(), { code: "shutting_down" });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(timers(), before + 1);
    await life.close();
    await waiting;
  });
});

test("a life leaves no listener behind for each of its processes", async () => {
  const { life, scripts } = lead(undefined, [], { maxRestarts: 100 });
  const warnings: Error[] = [];
  const warned = (warning: Error) => warnings.push(warning);
  process.on("warning", warned);
  for (let round = 0; round < 15; round += 1) {
    await life.untilReady();
    last(scripts).exit(1);
  }
  await life.untilReady();
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", warned);
  assert.deepEqual(warnings, []);
  await life.close();
});

suite("a restart", () => {
  test("forgets the crashes before it", async () => {
    const { life, scripts } = lead(undefined, [], { maxRestarts: 1 });
    for (let round = 0; round < 3; round += 1) {
      await life.untilReady();
      last(scripts).exit(1);
      await life.untilReady();
      await life.restart(0);
    }
    assert.equal(life.state, "ready");
    await life.close();
  });

  test("starts no process beside the one that it ends", async () => {
    const { life, scripts } = lead();
    await life.untilReady();
    const ending = last(scripts);
    ending.deafTo = ["quit"];
    let asked: Promise<StartedWorker> | null = null;
    let beside = 0;
    ending.closeStdin = () => {
      asked = life.untilReady();
      setImmediate(() => {
        beside = scripts.length - 1;
        ending.exit(0);
      });
    };
    await life.restart(0);
    await asked;
    assert.deepEqual([beside, scripts.length], [0, 2]);
    await life.close();
  });
});
