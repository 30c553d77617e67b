import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Model, TrainOptions } from "../src/index.js";
import { InvalidParams, RequestCancelled, TrainingFailed } from "../src/index.js";
import { MOST_REPORTS } from "../src/requests/trainRequest.js";
import type { JsonObject } from "../src/wire/json.js";
import { type Request, type ScriptedWorker, startModel } from "./support/scriptedWorker.js";

const SAVED = "/out/checkpoints/3";
const RESULT = {
  ...{ adapter: "/out", method: "lora", format: "mlx", first_loss: 3, last_loss: 1 },
  ...{ validation_loss: null, steps: 4, tokens: 120, rows: 8, truncated_rows: 0, seconds: 6 },
  ...{ peak_memory_bytes: 1000, loaded_as: "poet" },
};

/** Write the progress of one step. */
function report(script: ScriptedWorker, { id }: Request, step: number, stage = "train"): void {
  const figures = { learning_rate: 0.01, tokens: 30, seconds: 1.5, tokens_per_second: 20 };
  const rest = { ...figures, peak_memory_bytes: 1000, seconds_left: 4.5, validation_loss: null };
  const losses = stage === "train" ? { step, loss: 3 - step / 2, ...rest } : {};
  script.say({ id, type: "progress", stage, done: step, total: 4, ...losses });
}

/** End a training as the worker does after a cancel. */
function stopped(script: ScriptedWorker, request: Request): void {
  script.done(request, "cancelled", { stage: "train", checkpoint: SAVED, step: 3 });
}

const begin = (model: Model, more: Partial<TrainOptions> = {}) =>
  model.train("/data", { out: "/out", ...more });

test("a training sends the options that were given, zeros too", async () => {
  const { worker, script, model } = await startModel();
  const training = begin(model, {
    ...{ evaluateEvery: 0, validation: 0.25, keys: ["q_proj"], layers: null, loadAs: "poet" },
  });
  const result = training.result();
  const { id: _, ...fields } = await script.next("train");
  assert.deepEqual(fields, {
    ...{ cmd: "train", data: "/data", out: "/out", evaluate_every: 0, validation: 0.25 },
    ...{ keys: ["q_proj"], load_as: "poet" },
  });
  script.answer({ id: training.id, cmd: "train" } as Request, RESULT);
  assert.equal((await result).loadedAs, "poet");
  assert.equal((await training.result()).lastLoss, 1);
  await worker.close();
});

test("the reports of the steps come in a loop, and all stages to the callback", async () => {
  const { worker, script, model } = await startModel();
  const stages: string[] = [];
  const training = begin(model, { onProgress: ({ stage }) => stages.push(stage) });
  const taken: [number, number, number | null][] = [];
  const taking = (async () => {
    for await (const { step, loss, validationLoss } of training) {
      taken.push([step, loss, validationLoss]);
    }
  })();
  const request = await script.next("train");
  report(script, request, 1, "check");
  report(script, request, 1);
  report(script, request, 2);
  script.answer(request, RESULT);
  await taking;
  assert.deepEqual(taken, [
    [1, 2.5, null],
    [2, 2, null],
  ]);
  assert.deepEqual(stages, ["check", "train", "train"]);
  assert.equal(training.checkpoint, null);
  await worker.close();
});

test("a cancel waits for the checkpoint and names it", async () => {
  const { worker, script, model } = await startModel();
  const training = begin(model);
  const result = training.result();
  const request = await script.next("train");
  const both = Promise.all([training.cancel(), training.cancel()]);
  const cancel = await script.next("cancel");
  assert.equal(cancel.target, request.id);
  stopped(script, request);
  assert.deepEqual(await both, [SAVED, SAVED]);
  await assert.rejects(result, (error: RequestCancelled) => {
    assert.ok(error instanceof RequestCancelled);
    return error.data.checkpoint === SAVED && error.message.includes("resume");
  });
  assert.deepEqual(script.unread, []);
  await worker.close();
});

suite("a training is cancelled when it is left", () => {
  test("by a break", async () => {
    const { worker, script, model } = await startModel();
    const training = begin(model);
    const leaving = (async () => {
      for await (const _ of training) {
        break;
      }
    })();
    const request = await script.next("train");
    report(script, request, 1);
    await script.next("cancel");
    stopped(script, request);
    await leaving;
    assert.equal(training.checkpoint, SAVED);
    await worker.close();
  });

  test("by its signal", async () => {
    const { worker, script, model } = await startModel();
    const controller = new AbortController();
    const training = begin(model, { signal: controller.signal });
    const result = training.result();
    const request = await script.next("train");
    controller.abort(new Error("enough"));
    await assert.rejects(result, /enough/);
    await script.next("cancel");
    stopped(script, request);
    assert.equal(await training.cancel(), SAVED);
    await worker.close();
  });

  test("before it was sent", async () => {
    const { worker, script, model } = await startModel();
    const training = begin(model);
    assert.equal(await training.cancel(), null);
    await assert.rejects(training.result(), RequestCancelled);
    assert.deepEqual(script.unread, []);
    await worker.close();
  });
});

test("a failed training names its last good checkpoint", async () => {
  const { worker, script, model } = await startModel();
  const training = begin(model);
  const result = training.result();
  script.fail(await script.next("train"), "training_failed", { data: { checkpoint: SAVED } });
  await assert.rejects(result, TrainingFailed);
  assert.equal(training.checkpoint, SAVED);
  await worker.close();
});

test("reports that nobody takes are bounded, and the newest are kept", async () => {
  const { worker, script, model } = await startModel();
  const training = begin(model);
  const result = training.result();
  const request = await script.next("train");
  for (let step = 0; step < MOST_REPORTS + 5; step += 1) {
    report(script, request, step);
  }
  script.answer(request, RESULT);
  await result;
  const first = await training.next();
  assert.equal(first.value?.step, 5);
  await worker.close();
});

test("the worker's limits of requests do not end a training or an evaluation", async ({ mock }) => {
  const { worker, script, model } = await startModel({
    ...{ requestTimeoutMs: 50_000, idleTimeoutMs: 50_000 },
  });
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const result = begin(model).result();
  const figures = model.evaluate("/data", { adapter: "poet" });
  const train = await script.next("train");
  const evaluate = await script.next("evaluate");
  mock.timers.tick(1_000_000);
  script.answer(train, RESULT);
  const told = { loss: 1, perplexity: 2.7, tokens: 9, rows: 2, truncated_rows: 0, seconds: 0.5 };
  script.answer(evaluate, told);
  assert.equal((await result).steps, 4);
  assert.equal((await figures).perplexity, 2.7);
  assert.equal(evaluate.adapter, "poet");
  mock.timers.reset();
  await worker.close();
});

test("an unknown option of a training is refused by name", async () => {
  const { worker, model } = await startModel();
  const wrong = { out: "/out", ranks: 3 } as TrainOptions;
  assert.throws(() => model.train("/data", wrong), InvalidParams);
  assert.throws(() => model.train("/data", wrong), /ranks/);
  await worker.close();
});

suite("adapters", () => {
  const POET = {
    ...{ name: "poet", path: "/a", format: "peft", method: "dora", rank: 8, scale: 2 },
    ...{ modules: 3, parameters: 96, bytes: 384 },
  };
  const calls: [call: (model: Model) => Promise<unknown>, sent: JsonObject][] = [
    [(model) => model.loadAdapter("poet", "/a"), { action: "load", name: "poet", path: "/a" }],
    [(model) => model.unloadAdapter("poet"), { action: "unload", name: "poet" }],
    [(model) => model.adapters(), { action: "list" }],
  ];
  for (const [call, sent] of calls) {
    test(String(sent.action), async () => {
      const { worker, script, model } = await startModel();
      const asked = call(model);
      const request = await script.next("adapter");
      script.answer(request, { adapters: [POET] });
      const { id: _, ...fields } = request;
      assert.deepEqual(fields, { cmd: "adapter", ...sent });
      assert.deepEqual(await asked, [POET]);
      await worker.close();
    });
  }

  const named: [command: string, call: (model: Model) => Promise<unknown>][] = [
    ["generate", (model) => model.generate("a", { adapter: "poet" }).text()],
    ["chat", (model) => model.chat("a", { adapter: "poet" }).text()],
    ["batch", (model) => model.batch(["a"], { adapter: "poet" }).items()],
    ["classify", async (model) => model.classify(["a"], { adapter: "poet" })],
    ["embed", async (model) => model.embed(["a"], { adapter: "poet" })],
    ["score", async (model) => model.score(["a"], { adapter: "poet" })],
    ["rerank", (model) => model.rerank("a", ["b"], { adapter: "poet" })],
    ["cache", (model) => model.cache.warm("a", { adapter: "poet" })],
  ];
  for (const [command, call] of named) {
    test(`${command} names its adapter`, async () => {
      const { worker, script, model } = await startModel();
      const asked = call(model);
      const request = await script.next(command);
      script.fail(request, "invalid_params", { data: { field: "adapter" } });
      await assert.rejects(asked, InvalidParams);
      assert.equal(request.adapter, "poet");
      await worker.close();
    });
  }
});
