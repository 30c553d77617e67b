/** The first start of a worker with restart under a signal, and a load after another. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Model, ModelNotLoaded, type Worker, type WorkerOptions } from "../../src/index.js";
import { startWorker } from "../../src/worker.js";
import { LOADED, ScriptedWorker } from "../support/scriptedWorker.js";

function start(script: ScriptedWorker, options: WorkerOptions = {}): Promise<Worker> {
  return startWorker({ command: "scripted", restart: {}, ...options }, { spawn: script.spawn });
}

suite("the signal of a start with restart", () => {
  test("ends the start with its own reason, and the worker", async () => {
    const script = new ScriptedWorker();
    script.greeting = null;
    const controller = new AbortController();
    const starting = start(script, { signal: controller.signal });
    await script.greeted;
    controller.abort("why");
    await assert.rejects(starting, (reason) => reason === "why");
    assert.notEqual(script.status, null);
  });

  test("ends nothing once the worker has started", async () => {
    const script = new ScriptedWorker();
    const controller = new AbortController();
    const { signal } = controller;
    const worker = await start(script, { signal });
    controller.abort();
    assert.equal(worker.state, "ready");
    await worker.close();
  });
});

test("a model that a later load replaced is void, and its close does not unload the later one", async () => {
  const script = new ScriptedWorker();
  const worker = await start(script);
  const models: Model[] = [];
  for (const path of ["one", "other"]) {
    const loading = worker.load(path);
    script.answer(await script.next("load"), LOADED);
    models.push(await loading);
  }
  const [one, other] = models;
  await assert.rejects(Promise.resolve(one?.generate("a").text()), ModelNotLoaded);
  await one?.close();
  assert.equal(script.unread.length, 0);
  const text = other?.generate("b").text();
  script.done(await script.next("generate"));
  assert.equal(await text, "");
  await worker.close();
});
