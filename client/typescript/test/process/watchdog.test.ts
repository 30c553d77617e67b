import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { RequestCancelled, type WorkerOptions } from "../../src/index.js";
import { Clock } from "../support/clock.js";
import { ScriptedWorker, startScripted } from "../support/scriptedWorker.js";

const LONG_MS = 1_000_000;

/** Start a worker with these liveness limits, under a clock that moves by hand. */
async function watched(
  t: TestContext,
  liveness: WorkerOptions["liveness"],
  script?: ScriptedWorker,
) {
  const clock = new Clock(t);
  const started = await startScripted({ liveness }, script);
  return { ...started, clock, connection: started.script.connection };
}

suite("a worker that is watched", () => {
  const limits: [whose: string, liveness: WorkerOptions["liveness"]][] = [
    ["silence", { silenceMs: 800, stepMs: LONG_MS }],
    ["step", { silenceMs: LONG_MS, stepMs: 800 }],
    ["phase", { silenceMs: LONG_MS, stepMs: LONG_MS, phases: { decode: 800, idle: null } }],
  ];
  for (const [whose, liveness] of limits) {
    test(`is ended within an eighth of its limit: ${whose}`, async (t) => {
      const { script, clock, connection, worker } = await watched(t, liveness);
      const data = { phase: "decode", steps: 1, last_step_seconds: 60 };
      script.say({ id: null, type: "event", event: "heartbeat", data });
      for (let look = 0; look < 7; look += 1) {
        clock.pass(100);
      }
      assert.equal(connection.failure, null);
      clock.pass(100);
      clock.pass(100);
      assert.match(String(connection.failure), /it was stopped, or hangs|hangs: in phase decode/);
      await worker.closed;
    });
  }

  test("is not ended as long as any message comes", async (t) => {
    const { script, clock, connection } = await watched(t, { silenceMs: 800, stepMs: LONG_MS });
    for (let look = 0; look < 30; look += 1) {
      script.say({ id: null, type: "event", event: "eclipse", data: {} });
      clock.pass(100);
    }
    assert.equal(connection.failure, null);
  });

  test("is not blamed for silence while it is being closed", async (t) => {
    const { script, clock, worker } = await watched(t, { silenceMs: 800 });
    const asked = assert.rejects(worker.metrics(), RequestCancelled);
    script.deafTo = ["quit"];
    script.closeStdin = () => {
      for (let look = 0; look < 20; look += 1) {
        clock.pass(100);
      }
      script.exit(0);
    };
    await worker.close();
    await asked;
  });

  test("is watched no more once it has ended", async (t) => {
    const { script, clock, connection, worker } = await watched(t, { silenceMs: 800 });
    script.exit(0);
    await worker.closed;
    let looks = 0;
    const get = (): null => {
      looks += 1;
      return null;
    };
    Object.defineProperty(connection, "failure", { get });
    for (let look = 0; look < 20; look += 1) {
      clock.pass(100);
    }
    assert.equal(looks, 0);
  });

  test("does not keep the host's event loop running by that", async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout");
    const before = timers();
    await startScripted({ liveness: {} });
    assert.deepEqual(timers(), before);
  });
});

test("a worker without heartbeats is not watched", async (t) => {
  const script = new ScriptedWorker();
  script.greeting = { capabilities: {}, events: [] };
  const { clock, connection } = await watched(t, { silenceMs: 800 }, script);
  for (let look = 0; look < 100; look += 1) {
    clock.pass(100);
  }
  assert.equal(connection.failure, null);
});
