import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { MlxwireError, ModelNotFound, Worker, type WorkerChange } from "../../src/index.js";
import { WorkerLife } from "../../src/restart/workerLife.js";
import { last, lead, POLICY, startProcess } from "../support/scriptedLife.js";
import { ScriptedWorker } from "../support/scriptedWorker.js";

suite("a worker's life", () => {
  test("begins with the first caller that needs a process, once for all callers", async () => {
    const { life, scripts } = lead();
    assert.equal(life.state, "stopped");
    const [one, other] = await Promise.all([life.untilReady(), life.untilReady()]);
    assert.equal(one, other);
    assert.equal(scripts.length, 1);
    await life.close();
    assert.deepEqual(last(scripts).steps, ["quit"]);
  });

  test("does not begin again by itself if its first start fails", async (t) => {
    const { life, scripts } = lead(async () => {
      throw new ModelNotFound("there is none");
    });
    const waits = t.mock.fn(setTimeout);
    t.mock.method(globalThis, "setTimeout", waits);
    await assert.rejects(life.untilReady(), ModelNotFound);
    const before = waits.mock.callCount();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(waits.mock.callCount(), before, "it waits for another start");
    assert.equal(life.state, "stopped");
    assert.equal(scripts.length, 1);
    await life.close();
  });

  test("goes on after a process that dies while it is prepared", async () => {
    let first = true;
    const { life, scripts, kinds } = lead(async () => {
      if (first && scripts.length === 2) {
        first = false;
        last(scripts).exit(9);
        throw new MlxwireError("it died under the load");
      }
    });
    await life.untilReady();
    last(scripts).exit(null, "SIGKILL");
    await life.untilReady();
    assert.deepEqual(kinds(), [
      ...["started", "ready", "crashed", "restarting"],
      ...["started", "crashed", "restarting"],
      ...["started", "ready"],
    ]);
    await life.close();
  });

  test("goes on after a process that offends in the same turn as its hello", async () => {
    const offending = new ScriptedWorker();
    offending.answer = ({ id }, fields) => {
      offending.say({ id, type: "result", final: true, ...fields }, "this is no message");
    };
    const { life, scripts, changes } = lead(undefined, [new ScriptedWorker(), offending]);
    await life.untilReady();
    last(scripts).exit(1);
    await life.untilReady();
    assert.equal(scripts.length, 3);
    const crashes = changes.filter((change) => change.kind === "crashed");
    assert.deepEqual(
      crashes.map(({ error }) => error.code),
      ["worker_crashed", "protocol_violation"],
    );
    await life.close();
  });

  test("gives up if another start would fail the same way", async () => {
    let broken = false;
    const { life, scripts, changes } = lead(async () => {
      if (broken) throw new ModelNotFound("somebody removed it");
    });
    await life.untilReady();
    broken = true;
    last(scripts).exit(1);
    await assert.rejects(life.untilReady(), ModelNotFound);
    assert.equal(life.state, "failed");
    assert.equal(scripts.length, 2);
    assert.equal(changes.at(-1)?.kind, "gaveUp");
    await assert.rejects(life.untilReady(), ModelNotFound);
    broken = false;
    await life.restart(0);
    assert.equal(life.state, "ready");
    await life.close();
  });

  test("tells of a failed start without the pid of the process before", async () => {
    let fails = false;
    const changes: WorkerChange[] = [];
    const life = new WorkerLife({
      start: (signal, judge) => {
        const script = new ScriptedWorker();
        scripts.push(script);
        return fails
          ? Promise.reject(new MlxwireError("no worker today"))
          : startProcess(script, signal, judge);
      },
      prepare: async () => undefined,
      policy: { ...POLICY, maxRestarts: 1 },
      onChange: (change) => changes.push(change),
      random: () => 0.5,
    });
    const scripts: ScriptedWorker[] = [];
    await life.untilReady();
    fails = true;
    last(scripts).exit(1);
    await assert.rejects(life.untilReady(), { code: "worker_crashed", retryable: false });
    const crashes = changes.filter((change) => change.kind === "crashed");
    assert.deepEqual(
      crashes.map(({ pid }) => pid),
      [4711, null],
    );
    await life.close();
  });
});

suite("a restart", () => {
  test("lets requests in flight end, and lets new ones wait", async () => {
    const { life, scripts } = lead();
    const worker = await life.untilReady();
    const metrics = new Worker(worker).cancel();
    const before = last(scripts);
    const restarted = life.restart(60_000);
    const waiting = life.untilReady();
    assert.equal(life.state, "draining");
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(before.steps, []);
    before.answer(await before.next("cancel"), { outcome: "finished", cancelled: 0 });
    await restarted;
    assert.equal((await metrics).outcome, "finished");
    assert.deepEqual(before.steps, ["quit"]);
    assert.notEqual(await waiting, worker);
    await life.close();
  });

  test("that a close overtakes rejects, as do those who wait", async () => {
    const { life, scripts } = lead();
    await life.untilReady();
    const ending = last(scripts);
    ending.deafTo = ["quit"];
    const closed = new Promise<void>((resolve) => {
      ending.closeStdin = () => {
        resolve(life.close());
        ending.exit(0);
      };
    });
    const waiting = Promise.allSettled([life.restart(0), life.untilReady()]);
    await closed;
    for (const { status } of await waiting) {
      assert.equal(status, "rejected");
    }
    await assert.rejects(life.untilReady(), { code: "shutting_down" });
    await assert.rejects(life.restart(0), { code: "shutting_down" });
    assert.equal(scripts.length, 1);
    assert.ok(ending.released);
  });
});
