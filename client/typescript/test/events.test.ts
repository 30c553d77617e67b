import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ProtocolViolation, type WorkerEvent } from "../src/index.js";
import type { JsonObject } from "../src/wire/json.js";
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

  test("of a later version keep their name, whatever data they bring", async () => {
    const heard: WorkerEvent[] = [];
    const events = ["eclipse"];
    const { script } = await startScripted({ events, onEvent: (event) => heard.push(event) });
    script.say({ id: null, type: "event", event: "eclipse", data: beat, final: false });
    assert.deepEqual(heard, [{ event: "other", name: "eclipse", data: beat }]);
  });

  const EVENT = { id: null, type: "event", event: "eclipse", data: {} };
  const wrong: [what: string, message: JsonObject][] = [
    ["a name", { ...EVENT, event: undefined }],
    ["a text as its name", { ...EVENT, event: 5 }],
    ["data", { ...EVENT, data: undefined }],
    ["an object as its data", { ...EVENT, data: [] }],
    ["null as its id", { ...EVENT, id: "r1" }],
    ["an id", { ...EVENT, id: undefined }],
    ["an end of its own to come", { ...EVENT, final: true }],
    ["a heartbeat's figures in it", { ...EVENT, event: "heartbeat", data: { rhythm: "waltz" } }],
  ];
  for (const [what, message] of wrong) {
    test(`end the worker if one comes without ${what}`, async () => {
      const onEvent = () => assert.fail("the client reported the malformed event");
      const events = ["eclipse", "heartbeat"];
      const { worker, script } = await startScripted({ events, onEvent });
      const asked = worker.metrics();
      script.say(message);
      await assert.rejects(asked, ProtocolViolation);
      await worker.closed;
    });
  }

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
