import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { InvalidParams, Worker, type WorkerOptions } from "../src/index.js";
import { DEFAULT_LIVENESS_LIMITS } from "../src/process/liveness.js";
import { DEFAULT_SHUTDOWN_LIMITS } from "../src/process/shutdown.js";
import { snakeCase } from "../src/wire/shape.js";
import * as wire from "../src/wire/wireFields.js";
import { settle } from "../src/workerOptions.js";
import { startModel } from "./support/scriptedWorker.js";

suite("options on the wire", () => {
  const fields = (options: object) => wire.wireFields("chat", options, wire.CHAT, wire.STREAM);

  test("have the wire's names, and are left out where they are null or undefined", () => {
    const options = { maxTokens: 4, topP: 0.5, seed: null, stop: undefined, thinking: false };
    assert.deepEqual(fields(options), { max_tokens: 4, top_p: 0.5, thinking: false });
  });

  test("take a bias as a map or as an object", () => {
    assert.deepEqual(fields({ logitBias: new Map([[7, -1.5]]) }), { logit_bias: { 7: -1.5 } });
    assert.deepEqual(fields({ logitBias: { 7: -1.5 } }), { logit_bias: { 7: -1.5 } });
  });

  test("of classify are those that draw a token, and its own", () => {
    const drawing = { temperature: 1, topK: 2, topP: 0.5, minP: 0.1, seed: 3 };
    const wanted = { temperature: 1, top_k: 2, top_p: 0.5, min_p: 0.1, seed: 3, logits: true };
    const given = { ...drawing, logits: true };
    assert.deepEqual(wire.wireFields("classify", given, wire.CLASSIFY, wire.STREAM), wanted);
  });

  test("take a file's URL as a path", () => {
    const load = wire.wireFields("load", { adapterPath: new URL("file:///a%20b") }, wire.LOAD, []);
    assert.deepEqual(load, { adapter_path: process.platform === "win32" ? "\\a b" : "/a b" });
  });

  test("are not sent if they are this client's own", () => {
    assert.deepEqual(fields({ timeoutMs: 5, signal: AbortSignal.abort(), idleTimeoutMs: 5 }), {});
  });

  for (const name of ["maxToken", "max_tokens", "toString", "__proto__x"]) {
    test(`are refused by name if unknown: ${name}`, () => {
      assert.throws(
        () => fields({ [name]: 1 }),
        (error) => {
          assert.ok(error instanceof InvalidParams);
          assert.equal(error.field, snakeCase(name));
          assert.match(error.message, new RegExp(`\`${name}\` is no option of chat.*maxTokens`));
          return true;
        },
      );
    });
  }
});

suite("unknown options of a start are refused by name", () => {
  const refused = (name: string) => ({ code: "invalid_params", message: new RegExp(name) });
  /** Give options as a caller without types would. */
  const untyped = (options: object): object => options;

  test("of a worker", async () => {
    await assert.rejects(Worker.start(untyped({ comand: "x" })), refused("comand"));
  });

  test("of the shutdown limits and of liveness", async () => {
    await assert.rejects(Worker.start(untyped({ limits: { quit: 3 } })), refused("quit"));
    await assert.rejects(Worker.start(untyped({ liveness: { stepms: 3 } })), refused("stepms"));
  });

  test("of a restart", async () => {
    await assert.rejects(Worker.start(untyped({ restart: { window: 3 } })), refused("window"));
  });
});

suite("unknown options of a call that sends no options are refused by name", () => {
  const untyped = (options: object): object => options;

  test("and nothing is sent", async () => {
    const { worker, script, model } = await startModel();
    const wrong = untyped({ timeout: 5 });
    const calls = [
      worker.metrics(wrong),
      worker.memory(wrong),
      worker.cancel("r1", wrong),
      model.refreshInfo(wrong),
      model.detokenize([1], wrong),
      model.cache.stats(wrong),
    ];
    for (const call of calls) {
      await assert.rejects(call, { code: "invalid_params", message: /`timeout` is no option of/ });
    }
    assert.deepEqual(script.unread, []);
    await worker.close();
  });
});

suite("milliseconds that no timer can wait", () => {
  for (const ms of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, "5", null]) {
    test(`are refused by name: ${ms}`, async () => {
      const wrong = (options: object): WorkerOptions => options;
      const field = (name: string) => ({ code: "invalid_params", field: name });
      const start = Worker.start(wrong({ startTimeoutMs: ms }));
      await assert.rejects(start, field("startTimeoutMs"));
      await assert.rejects(Worker.start(wrong({ limits: { quitMs: ms } })), field("quitMs"));
      const hanging = Worker.start(wrong({ liveness: { stepMs: ms } }));
      await assert.rejects(hanging, field("stepMs"));
      const restart = Worker.start(wrong({ restart: { windowMs: ms } }));
      await assert.rejects(restart, field("windowMs"));
      const options: object = { timeoutMs: ms };
      assert.throws(
        () => wire.wireFields("chat", options, wire.CHAT, wire.STREAM),
        field("timeoutMs"),
      );
    });
  }

  test("counts below 1 are refused too", async () => {
    for (const name of ["window", "bufferBytes"]) {
      for (const count of [0, 1.5]) {
        const start = Worker.start({ [name]: count });
        await assert.rejects(start, { code: "invalid_params", field: name });
      }
    }
  });
});

test("the longest time and the smallest window are accepted", () => {
  const { startTimeoutMs, limits } = settle({ startTimeoutMs: 2 ** 31 - 1, window: 1 });
  assert.deepEqual([startTimeoutMs, limits.window], [2 ** 31 - 1, 1]);
});

test("an option left out of a start has its default", () => {
  assert.deepEqual(settle({}), {
    ...{ args: [], env: {}, startTimeoutMs: 30_000, liveness: null, restart: null },
    limits: {
      ...{ requestTimeoutMs: undefined, idleTimeoutMs: undefined },
      ...{ drainTimeoutMs: 5000, window: 256, bufferBytes: 64 * 1024 * 1024 },
    },
    shutdown: { quitMs: 3000, stdinMs: 2000, termMs: 2000, killMs: 2000 },
  });
});

test("an option given for a start is used", () => {
  const env = { A: "b" };
  const given = settle({ engine: "mock", args: ["--x"], env, drainTimeoutMs: 7, bufferBytes: 8 });
  assert.deepEqual([given.args, given.env], [["--engine", "mock", "--x"], env]);
  assert.deepEqual([given.limits.drainTimeoutMs, given.limits.bufferBytes], [7, 8]);
});

test("an option that is undefined is the same as left out", () => {
  const { shutdown, liveness } = settle({
    limits: { killMs: undefined, quitMs: 5 } as object,
    liveness: { stepMs: undefined } as object,
  });
  assert.deepEqual(shutdown, { ...DEFAULT_SHUTDOWN_LIMITS, quitMs: 5 });
  assert.deepEqual(liveness, DEFAULT_LIVENESS_LIMITS);
});
