import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { WorkerEvent } from "../src/index.js";
import { startScripted } from "./support/scriptedWorker.js";

suite("events", () => {
  test("are heard if they were asked for", async () => {
    const heard: WorkerEvent[] = [];
    const { script } = await startScripted({
      events: ["heartbeat", "eclipse"],
      onEvent: (event) => heard.push(event),
    });
    const beat = { phase: "idle", steps: 3, last_step_seconds: 0.5 };
    for (const [event, data] of Object.entries({ heartbeat: beat, eclipse: {}, other: {} })) {
      script.say({ id: null, type: "event", event, data });
    }
    assert.deepEqual(heard, [
      {
        ...{ event: "heartbeat", phase: "idle", steps: 3 },
        ...{ lastStepSeconds: 0.5, inFlight: 0, queued: 0 },
      },
      { event: "other", name: "eclipse", data: {} },
    ]);
  });

  const beat = { phase: "idle", steps: 3, last_step_seconds: 0.5 };

  test("keep their name, whatever data they bring", async () => {
    const heard: WorkerEvent[] = [];
    const events = ["heartbeat", "eclipse"];
    const { script } = await startScripted({ events, onEvent: (event) => heard.push(event) });
    for (const [event, data] of [
      ["eclipse", beat],
      ["heartbeat", { rhythm: "waltz" }],
    ]) {
      script.say({ id: null, type: "event", event, data });
    }
    assert.deepEqual(heard, [
      { event: "other", name: "eclipse", data: beat },
      { event: "other", name: "heartbeat", data: { rhythm: "waltz" } },
    ]);
  });

  test("in a wrong shape are ignored", async () => {
    const { script } = await startScripted({ onEvent: () => assert.fail("it is none") });
    script.say({ id: null, type: "event", event: 5, data: {} });
    assert.equal(script.connection.failure, null);
  });

  test("end a worker whose heartbeats tell that it hangs", async (t) => {
    const eventLoop = setInterval(() => undefined, 1000); // a process would keep it
    t.after(() => clearInterval(eventLoop));
    const liveness = { silenceMs: 10_000, stepMs: 20, phases: {} };
    const { worker, script } = await startScripted({ liveness });
    const asked = worker.metrics();
    const data = { phase: "decode", steps: 1, last_step_seconds: 60 };
    script.say({ id: null, type: "event", event: "heartbeat", data });
    await assert.rejects(asked, /hangs: in phase decode/);
    await worker.closed;
  });
});
