import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { InvalidParams, Worker, type WorkerOptions } from "../src/index.js";
import { DEFAULT_LIVENESS_LIMITS } from "../src/process/liveness.js";
import { DEFAULT_SHUTDOWN_LIMITS } from "../src/process/shutdown.js";
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
    const load = wire.wireFields("load", { adapterPath: new URL("file:///a%20b") }, wire.LOAD, {});
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
          assert.equal(error.field, name);
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

suite("names of the envelope, and what this client writes itself, are no options", () => {
  for (const name of ["id", "cmd", "window", "prompt", "prompts", "messages", "__proto__"]) {
    test(name, async () => {
      const { worker, script, model } = await startModel();
      const wrong: object = JSON.parse(`{"${name}":"classify"}`);
      const refused = { code: "invalid_params", field: name };
      assert.throws(() => model.generate("a", wrong), refused);
      assert.throws(() => model.chat("a", wrong), refused);
      assert.throws(() => model.batch(["a"], wrong), refused);
      assert.throws(() => model.classify(["a"], wrong), refused);
      assert.throws(() => model.classifyChats(["a"], wrong), refused);
      assert.throws(() => model.embed(["a"], wrong), refused);
      assert.throws(() => model.score(["a"], wrong), refused);
      assert.throws(() => worker.discover("a", wrong), refused);
      for (const call of [
        () => model.render("a", wrong),
        () => model.rerank("a", ["b"], wrong),
        () => model.fit(wrong),
        () => worker.fit("a", wrong),
        () => model.tokenize("a", wrong),
        () => model.tokenizeChat("a", wrong),
        () => model.detokenize([1], wrong),
        () => model.refreshInfo(wrong),
        () => model.cache.warm("a", wrong),
        () => worker.load("b", wrong),
        () => worker.unload(wrong),
        () => worker.metrics(wrong),
        () => worker.memory(wrong),
        () => worker.cancel("r1", wrong),
      ]) {
        await assert.rejects(call, refused);
      }
      assert.deepEqual(script.unread, []);
      assert.equal(script.connection.failure, null);
      await worker.close();
    });
  }
});

suite("a wrong argument is refused by its name, and nothing is sent", () => {
  const none = null as never;
  const text = "--x" as never;

  test("of a start", async () => {
    const wrong: Record<string, object> = {
      options: none,
      args: { args: text },
      env: { env: { A: 1 } },
      command: { command: 5 },
      cwd: { cwd: 5 },
      engine: { engine: ["mock"] },
      require: { require: "logprobs" },
      events: { events: "heartbeat" },
      onEvent: { onEvent: "yes" },
      onStderr: { onStderr: true },
      onChange: { restart: {}, onChange: {} },
      signal: { signal: "soon" },
      restart: { restart: true },
      liveness: { liveness: 5 },
      limits: { limits: null },
    };
    for (const [field, options] of Object.entries(wrong)) {
      await assert.rejects(Worker.start(options), { code: "invalid_params", field }, field);
    }
    await assert.rejects(Worker.start({ args: text }), /`args` is "--x"; give an array of strings/);
  });

  test("of a request", async () => {
    const { worker, script, model } = await startModel();
    const wrong: [string, () => unknown][] = [
      ["options", () => model.generate("a", none)],
      ["options", () => model.generate("a", text)],
      ["signal", () => model.generate("a", { signal: {} as never })],
      ["onProgress", () => model.generate("a", { onProgress: 5 as never })],
      ["prompt", () => model.generate(undefined as never).next()],
      ["messages", () => model.chat(undefined as never).next()],
      ["options", () => worker.metrics(none)],
      ["requestId", () => worker.cancel(none)],
      ["requestId", () => worker.cancel(5 as never)],
      ["path", () => worker.load(5 as never)],
      ["path", () => worker.load(new URL("https://example.org/m"))],
      ["adapterPath", () => worker.load("m", { adapterPath: 5 as never })],
      ["path", () => model.cache.save(none)],
      ["drainMs", () => worker.restart(Number.NaN)],
      ["drainMs", () => worker.restart(-1)],
    ];
    for (const [field, call] of wrong) {
      await assert.rejects(async () => call(), { code: "invalid_params", field }, String(call));
    }
    assert.deepEqual(script.unread, []);
    await worker.close();
  });
});

suite("numbers that mean nothing", () => {
  const refused: [object: string, name: string, values: unknown[]][] = [
    ["restart", "maxRestarts", [-1, 0.5, Number.NaN, null]],
    ["restart", "windowMs", [0, -1, Number.NaN]],
    ["restart", "backoffMinMs", [-1, Number.NaN]],
    ["restart", "backoffMaxMs", [-1, Number.NaN]],
    ["restart", "jitter", [-0.1, 1.1, Number.NaN]],
    ["limits", "quitMs", [-1, Number.NaN]],
    ["limits", "killMs", [-1, Number.NaN]],
    ["liveness", "silenceMs", [0, -1, Number.NaN]],
    ["liveness", "stepMs", [0, -1, Number.NaN]],
  ];
  for (const [object, name, values] of refused) {
    test(`are refused in ${object}: ${name}`, async () => {
      for (const value of values) {
        const start = Worker.start({ [object]: { [name]: value } });
        await assert.rejects(start, { code: "invalid_params", field: name }, String(value));
      }
    });
  }

  test("are refused in phases of liveness", async () => {
    for (const decode of [0, -1, Number.NaN, "5"]) {
      const start = Worker.start({ liveness: { phases: { decode: decode as number } } });
      await assert.rejects(start, { code: "invalid_params", field: "phases.decode" });
    }
  });

  test("are refused in sampling by the option's own name", async () => {
    const { script, model } = await startModel();
    for (const field of ["maxTokens", "topP", "minTokens", "repeatPenalty"]) {
      const stream = model.generate("a", { [field]: Number.NaN });
      await assert.rejects(stream.next(), { code: "invalid_params", field });
    }
    const bias = model.generate("a", { logitBias: { 5: Number.NaN } });
    await assert.rejects(bias.next(), { code: "invalid_params", field: "logitBias.5" });
    assert.deepEqual(script.unread, []);
  });
});

suite("zero", () => {
  test("is a value of its own on the wire", () => {
    const zeros = { maxTokens: 0, topK: 0, temperature: 0, penaltyWindow: 0, seed: 0 };
    assert.deepEqual(wire.wireFields("chat", zeros, wire.CHAT, wire.STREAM), {
      ...{ max_tokens: 0, top_k: 0, temperature: 0, penalty_window: 0, seed: 0 },
    });
  });

  test("as maxRestarts allows none, and in the shutdown limits waits for nothing", () => {
    const { restart, shutdown } = settle({ restart: { maxRestarts: 0 }, limits: { quitMs: 0 } });
    assert.deepEqual([restart?.maxRestarts, shutdown.quitMs], [0, 0]);
  });

  test("as a time-out leaves no time, and as an idle time-out never ends a stream", async (t) => {
    const { script, model } = await startModel({ idleTimeoutMs: 1 });
    await assert.rejects(model.refreshInfo({ timeoutMs: 0 }), { code: "timeout" });
    await script.next("info");
    await script.next("cancel");
    const { mock } = t;
    mock.timers.enable({ apis: ["setInterval"] });
    const stream = model.generate("a", { idleTimeoutMs: 0 });
    const text = stream.text();
    const request = await script.next("generate");
    mock.timers.tick(1_000_000);
    script.done(request);
    assert.equal(await text, "");
  });
});

test("a phase of liveness that is left out has its default", () => {
  const { liveness } = settle({ liveness: { phases: { prefill: 5, load: undefined as never } } });
  assert.deepEqual(liveness?.phases, { idle: null, load: null, prefill: 5 });
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
