/** A load that fails or is aborted: the model before stays usable. */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Model, Worker } from "../../src/index.js";
import { loadOn, Scripts } from "../support/scriptedRestarts.js";
import { LOADED, type Request, type ScriptedWorker } from "../support/scriptedWorker.js";

/** Start a worker with a model, and give its process. */
async function begin(): Promise<[Scripts, Worker, ScriptedWorker, Model]> {
  const scripts = new Scripts();
  const worker = await scripts.start();
  const script = await scripts.next();
  return [scripts, worker, script, await loadOn(worker, script)];
}

/** Let a load fail. */
async function failLoad(worker: Worker, script: ScriptedWorker): Promise<void> {
  const loading = worker.load("other");
  script.fail(await script.next("load"), "model_load_failed");
  await assert.rejects(loading, { code: "model_load_failed" });
}

/** Answer one `generate`, and check that nothing else was asked. */
async function generateOn(script: ScriptedWorker, asked: Promise<string>): Promise<void> {
  script.done(await script.next("generate"));
  await asked;
  assert.deepEqual(script.unread, []);
}

suite("after a load that failed", () => {
  test("the model before is loaded again, once for all requests", async () => {
    const [, worker, script, model] = await begin();
    await failLoad(worker, script);
    const asked = Promise.all([model.generate("a").text(), model.generate("b").text()]);
    script.fail(await script.next("info"), "model_not_loaded");
    const load = await script.next("load");
    assert.deepEqual(load, { id: load.id, cmd: "load", path: "any", context_len: 9 });
    script.answer(load, LOADED);
    script.done(await script.next("generate"));
    script.done(await script.next("generate"));
    await asked;
    assert.deepEqual(script.unread, []);
    await worker.close();
  });

  test("a model that the process still has is not loaded again", async () => {
    const [, worker, script, model] = await begin();
    await failLoad(worker, script);
    const asked = model.generate("a").text();
    script.answer(await script.next("info"), LOADED);
    await generateOn(script, asked);
    await worker.close();
  });

  test("a reload that fails rejects the request, and the next request tries again", async () => {
    const [, worker, script, model] = await begin();
    await failLoad(worker, script);
    for (const _ of [1, 2]) {
      const asked = assert.rejects(model.generate("a").text(), { code: "model_not_found" });
      script.fail(await script.next("info"), "model_not_loaded");
      script.fail(await script.next("load"), "model_not_found");
      await asked;
    }
    assert.equal(worker.state, "ready");
    await worker.close();
  });

  test("a process that dies of the reload is replaced", async () => {
    const [scripts, worker, script, model] = await begin();
    await failLoad(worker, script);
    const asked = model.generate("a").text();
    script.fail(await script.next("info"), "model_not_loaded");
    await script.next("load");
    script.exit(1);
    const next = await scripts.next();
    next.answer(await next.next("load"), LOADED);
    await generateOn(next, asked);
    await worker.close();
  });

  test("a model that was closed is not loaded again", async () => {
    const [, worker, script, model] = await begin();
    await failLoad(worker, script);
    const closing = model.close();
    script.answer(await script.next("unload"), { ok: true });
    await closing;
    await assert.rejects(model.generate("a").text(), { code: "model_not_loaded" });
    assert.deepEqual(script.unread, []);
    await worker.close();
  });
});

suite("a load", () => {
  test("that was aborted too late does not replace the model before", async () => {
    const [, worker, script, model] = await begin();
    const abort = new AbortController();
    const loading = worker.load("other", { signal: abort.signal });
    const late = await script.next("load");
    abort.abort();
    await assert.rejects(loading, { name: "AbortError" });
    script.answer(await script.next("cancel"), { outcome: "accepted" });
    const asked = model.generate("a").text();
    const info = await script.next("info");
    script.answer(late, LOADED);
    script.answer(info, LOADED);
    const again = await script.next("load");
    assert.equal(again.path, "any");
    script.answer(again, LOADED);
    await generateOn(script, asked);
    await worker.close();
  });

  test("is waited for by later requests, and voids the model before", async () => {
    const [, worker, script, model] = await begin();
    const before = model.generate("before").text();
    const loading = worker.load("other");
    const after = assert.rejects(model.generate("after").text(), { code: "model_not_loaded" });
    script.done(await script.next("generate"));
    await before;
    script.answer(await script.next("load"), LOADED);
    await after;
    await generateOn(script, (await loading).generate("other").text());
    await worker.close();
  });

  test("comes after the requests that waited for a process before it", async () => {
    const [scripts, worker, script, model] = await begin();
    script.exit(1);
    const asked = model.generate("a").text();
    const loading = worker.load("other");
    const next = await scripts.next();
    next.answer(await next.next("load"), LOADED);
    next.done(await next.next("generate"));
    await asked;
    next.answer(await next.next("load"), LOADED);
    await loading;
    await worker.close();
  });

  test("is not undone by closing the model before meanwhile", async () => {
    const [, worker, script, model] = await begin();
    const loading = worker.load("other");
    const load = await script.next("load");
    const closing = model.close();
    script.answer(load, LOADED);
    await closing;
    await generateOn(script, (await loading).generate("other").text());
    await worker.close();
  });
});

suite("the load of a restarted process", () => {
  test("serves no request whose model was closed meanwhile", async () => {
    const [scripts, worker, script, model] = await begin();
    script.exit(1);
    const asked = assert.rejects(model.generate("a").text(), { message: /was closed/ });
    const second = await scripts.next();
    const load = await second.next("load");
    await model.close();
    second.answer(load, LOADED);
    await asked;
    await worker.close();
  });

  for (const [how, end] of [
    ["fails", (script: ScriptedWorker, load: Request) => script.fail(load, "out_of_memory")],
    ["is cancelled", (script: ScriptedWorker, load: Request) => script.done(load, "cancelled")],
  ] as const) {
    test(`that ${how} is followed by another process, and leaves no unhandled rejection`, async () => {
      const [scripts, worker, script, model] = await begin();
      script.exit(1);
      const asked = model.generate("a").text();
      const second = await scripts.next();
      end(second, await second.next("load"));
      const third = await scripts.next(); // the runner fails a test for an unhandled rejection
      third.answer(await third.next("load"), LOADED);
      await generateOn(third, asked);
      await worker.close();
    });
  }
});
