import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  HandshakeFailed,
  InvalidParams,
  MessageTooLarge,
  ModelNotLoaded,
  ProtocolViolation,
  RequestCancelled,
  ShuttingDown,
  UnsupportedProtocol,
  Worker,
  WorkerCrashed,
  WorkerError,
} from "../src/index.js";
import { LOADED, ScriptedWorker, startModel, startScripted } from "./support/scriptedWorker.js";

suite("a start", () => {
  test("tells who the worker is and what it can do", async () => {
    const { worker } = await startScripted();
    assert.deepEqual(worker.identity, {
      name: "scripted",
      version: "1",
      pid: 4711,
      engine: "mock",
    });
    assert.deepEqual(worker.capabilities, { window: true, heartbeat: true });
    assert.deepEqual(worker.limits, { maxLineBytes: 16_777_216, maxInflight: 64 });
    assert.equal(worker.pid, 4711);
  });

  test("gives the child's pid, also if the child only starts the worker", async () => {
    const script = new ScriptedWorker();
    const identity = { name: "behind", version: "1", pid: 1, engine: "mock" };
    script.greeting = { worker: identity, capabilities: {} };
    const { worker } = await startScripted({}, script);
    assert.deepEqual([worker.pid, worker.identity.pid], [4711, 1]);
  });

  test("fails if the worker exits instead", async () => {
    const script = new ScriptedWorker();
    script.greeting = null;
    const starting = startScripted({}, script);
    await script.greeted;
    script.say("usage: nothing of the kind");
    script.log("no such option\n");
    script.exit(2);
    await assert.rejects(starting, (error) => {
      assert.ok(error instanceof HandshakeFailed);
      assert.deepEqual(error.data, { exit_code: 2, signal: null });
      assert.deepEqual([error.retryable, error.stderrTail], [false, "no such option\n"]);
      assert.match(error.message, /exited with code 2 .*usage: nothing of the kind.*pip install/);
      return true;
    });
  });

  test("fails if the worker is silent, and ends it", async () => {
    const script = new ScriptedWorker();
    script.greeting = null;
    await assert.rejects(startScripted({ startTimeoutMs: 20 }, script), HandshakeFailed);
    assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
  });

  test("fails if the answer has a wrong shape", async () => {
    const script = new ScriptedWorker();
    script.greeting = { worker: "me" };
    const refused = { code: "handshake_failed", message: /is no hello result: `worker`: is "me"/ };
    await assert.rejects(startScripted({}, script), refused);
    assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
  });

  test("fails if the answer names a protocol that was not offered, and ends the worker", async () => {
    const script = new ScriptedWorker();
    script.greeting = { protocol: 2 };
    await assert.rejects(startScripted({}, script), { code: "handshake_failed" });
    assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
  });

  test("fails with the worker's error and the tail of its stderr", async () => {
    const script = new ScriptedWorker();
    const error = { code: "unsupported_protocol", message: "m", retryable: false, data: {} };
    script.greeting = { type: "error", error };
    const starting = startScripted({}, script);
    await script.greeted;
    script.log("too old\n");
    await assert.rejects(starting, (error) => {
      assert.ok(error instanceof UnsupportedProtocol);
      assert.equal(error.stderrTail, "too old\n");
      return true;
    });
    assert.notEqual(script.status, null);
  });

  test("ends the worker and throws the signal's reason if it is aborted", async () => {
    const script = new ScriptedWorker();
    script.greeting = null;
    const controller = new AbortController();
    const starting = startScripted({ signal: controller.signal }, script);
    await script.greeted;
    const reason = new Error("mine");
    controller.abort(reason);
    await assert.rejects(starting, (error) => error === reason);
    assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
  });

  test("refuses an unknown option by name", async () => {
    await assert.rejects(Worker.start({ startTimeout: 1 } as object), (error) => {
      assert.ok(error instanceof InvalidParams);
      return error.field === "startTimeout" && /startTimeoutMs/.test(error.message);
    });
    await assert.rejects(Worker.start({ limits: { quit: 1 } } as object), InvalidParams);
  });
});

suite("an end", () => {
  test("asks the worker to quit, once for all callers of close()", async () => {
    const { worker, script, model } = await startModel();
    const text = model.generate("a").text();
    await script.next("generate");
    const failed = assert.rejects(text, RequestCancelled);
    await Promise.all([worker.close(), worker.close()]);
    await worker.close();
    await failed;
    assert.deepEqual(script.steps, ["quit"]);
    assert.equal(script.released, true);
    assert.deepEqual(await worker.closed, { exitCode: 0, signal: null });
    await assert.rejects(worker.metrics(), ShuttingDown);
  });

  test("takes every step if the worker reacts to none", async () => {
    const { worker, script } = await startScripted();
    script.deafTo = ["quit", "stdin", "SIGTERM", "SIGKILL"];
    await worker.close();
    assert.deepEqual(script.steps, ["quit", "stdin", "stdin", "SIGTERM", "SIGKILL"]);
    assert.equal(script.released, true);
    assert.deepEqual(await worker.closed, { exitCode: null, signal: null });
  });

  test("comes at once after kill()", async () => {
    const { worker, script } = await startScripted();
    const asked = worker.metrics();
    await script.next("metrics");
    worker.kill();
    await assert.rejects(asked, { code: "worker_crashed", signal: "SIGKILL" });
    assert.deepEqual(script.steps, ["SIGKILL"]);
    assert.deepEqual(await worker.closed, { exitCode: null, signal: "SIGKILL" });
    await worker.close();
  });
});

suite("a worker that misbehaves", () => {
  test("by breaking the wire's rules fails all pending requests, and is ended without quit", async () => {
    const { worker, script } = await startScripted();
    const asked = [worker.metrics(), worker.memory()];
    await script.next("metrics");
    script.say("hello?");
    for (const promise of asked) {
      await assert.rejects(promise, ProtocolViolation);
    }
    await worker.closed;
    assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
  });

  for (const [what, message] of Object.entries({
    "an item": { type: "item", index: "first" },
    progress: { type: "progress", stage: 1 },
  })) {
    test(`by sending ${what} in a wrong shape is ended likewise`, async () => {
      const { worker, script, model } = await startModel();
      const options = { onProgress: () => undefined };
      const asked = [worker.metrics(), model.batch(["a"], options).items()];
      await script.next("metrics");
      script.say({ ...message, id: (await script.next("batch")).id });
      for (const promise of asked) {
        await assert.rejects(promise, ProtocolViolation);
      }
      await worker.closed;
      assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
    });
  }

  test("by closing its stdout is ended, and has crashed", async () => {
    const { worker, script } = await startScripted();
    const asked = worker.metrics();
    await script.next("metrics");
    script.losePipe("stdout");
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof WorkerCrashed);
      return /closed its stdout/.test(error.message);
    });
    await worker.closed;
    assert.deepEqual(script.steps, ["stdin", "SIGTERM"]);
  });

  test("by an exit that breaks its pipes first is reported by its exit", async () => {
    const { worker, script } = await startScripted();
    const asked = worker.metrics();
    await script.next("metrics");
    script.losePipe("stdin");
    script.losePipe("stdout");
    script.exit(9);
    await assert.rejects(asked, { code: "worker_crashed", exitCode: 9 });
    assert.deepEqual(script.steps, []);
  });

  test("is not blamed for an exception of this client", async () => {
    const { worker, script } = await startScripted();
    script.connection.onIdle = () => {
      throw new Error("a defect");
    };
    const asked = worker.cancel("r");
    const request = await script.next("cancel");
    assert.throws(() => script.answer(request, { outcome: "unknown", cancelled: 0 }), /a defect/);
    await asked;
    assert.equal(script.connection.failure, null);
    script.connection.onIdle = null;
  });

  test("by an unknown error code fails the request like any other code", async () => {
    const { worker, script } = await startScripted();
    const asked = worker.metrics();
    script.fail(await script.next("metrics"), "sunspots", { retryable: true, data: { n: 1 } });
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof WorkerError);
      assert.deepEqual([error.code, error.retryable, error.data], ["sunspots", true, { n: 1 }]);
      return true;
    });
  });

  test("by a final of a later version fails that request alone", async () => {
    const { worker, script } = await startScripted();
    const [metrics, cancel] = [worker.metrics(), worker.cancel("r")];
    const { id } = await script.next("metrics");
    script.say({ id, type: "verdict", final: true });
    script.answer(await script.next("cancel"), { outcome: "unknown", cancelled: 0 });
    await assert.rejects(metrics, { code: "protocol_violation", message: /`verdict`.*update/ });
    assert.deepEqual(await cancel, { outcome: "unknown", cancelled: 0 });
  });
});

suite("a host's event loop", () => {
  test("goes on for a worker only while a request is in flight", async () => {
    const { worker, script } = await startScripted();
    assert.equal(script.held, false);
    const asked = [worker.cancel("q"), worker.cancel("r")];
    assert.equal(script.held, true);
    script.answer(await script.next("cancel"), { outcome: "unknown", cancelled: 0 });
    assert.equal(script.held, true);
    script.answer(await script.next("cancel"), { outcome: "unknown", cancelled: 0 });
    assert.equal(script.held, false);
    await Promise.allSettled(asked);
  });
});

suite("a load", () => {
  test("sends paths as text, and only the options that were set", async () => {
    const { worker, script } = await startScripted();
    const progress: unknown[] = [];
    const loading = worker.load("/models/a", {
      adapterPath: new URL("file:///adapters/b"),
      contextLen: 512,
      kvBits: null,
      warmup: undefined,
      onProgress: (step) => progress.push(step),
    });
    const request = await script.next("load");
    assert.deepEqual(request, {
      ...{ id: request.id, cmd: "load", path: "/models/a" },
      ...{ adapter_path: "/adapters/b", context_len: 512 },
    });
    script.say({ id: request.id, type: "progress", stage: "load", done: 1, total: 2 });
    script.answer(request, LOADED);
    const model = await loading;
    assert.deepEqual(progress, [{ stage: "load", done: 1, total: 2 }]);
    assert.deepEqual([model.info.modelType, model.loadSeconds], ["mock", 0.5]);
  });

  test("tells the warnings of the load; an older worker has none", async () => {
    for (const warnings of [["it is slow"], undefined]) {
      const { worker, script } = await startScripted();
      const loading = worker.load("/models/a");
      script.answer(await script.next("load"), { ...LOADED, ...(warnings && { warnings }) });
      assert.deepEqual((await loading).loadWarnings, warnings ?? []);
    }
  });

  test("replaces the model before, unless the load fails", async () => {
    const { worker, script, model } = await startModel();
    const failing = worker.load("nowhere");
    script.fail(await script.next("load"), "model_not_found");
    await assert.rejects(failing, { code: "model_not_found" });
    const loading = worker.load("other");
    const [text, request] = [model.generate("a").text(), await script.next("load")];
    script.done(await script.next("generate"));
    await text;
    script.answer(request, LOADED);
    await loading;
    await model.unload();
    assert.equal(script.unread.length, 0);
    const replaced = { code: ModelNotLoaded.code, message: /was replaced by a later load/ };
    await assert.rejects(model.generate("a").text(), replaced);
  });

  test("is undone by an unload, once", async () => {
    const { script, model } = await startModel();
    const unloading = model.unload();
    script.answer(await script.next("unload"), { ok: true });
    await unloading;
    await model.close();
    assert.equal(script.unread.length, 0);
    await assert.rejects(model.refreshInfo(), ModelNotLoaded);
  });

  test("is undone by Worker.unload, which sends nothing if no model is loaded", async () => {
    const { worker, script, model } = await startModel();
    const unloading = worker.unload();
    script.answer(await script.next("unload"));
    await unloading;
    await worker.unload();
    assert.equal(script.unread.length, 0);
    await assert.rejects(model.generate("a").text(), ModelNotLoaded);
  });

  test("is undone by the worker's end, after which an unload sends nothing", async () => {
    const { script, model } = await startModel();
    script.exit(1);
    await model.unload();
    assert.equal(script.unread.length, 0);
  });

  test("lets the model's description be asked for again", async () => {
    const { script, model } = await startModel();
    const asked = model.refreshInfo();
    script.answer(await script.next("info"), { ...LOADED, context_len: 99 });
    assert.equal((await asked).contextLen, 99);
    assert.equal(model.info.contextLen, 99);
  });
});

suite("a request", () => {
  test("to cancel names its target, or no target to cancel all", async () => {
    const { worker, script } = await startScripted();
    const asked = [worker.cancel("r7"), worker.cancel()];
    for (const target of ["r7", undefined]) {
      const request = await script.next("cancel");
      assert.equal(request.target, target);
      script.answer(request, { outcome: "unknown", cancelled: 0 });
    }
    await Promise.all(asked);
  });

  test("longer than the worker's line limit is not sent", async () => {
    const { script, model } = await startModel();
    await assert.rejects(model.generate("x".repeat(16_777_216)).text(), MessageTooLarge);
    assert.equal(script.unread.length, 0);
  });

  test("with an unknown option is refused by the name that its caller wrote", async () => {
    const { model } = await startModel();
    const refused = (field: string) => ({ code: "invalid_params", field, data: { field } });
    assert.throws(() => model.generate("a", { maxToken: 1 } as object), refused("maxToken"));
    assert.throws(() => model.chat("a", { max_token: 1 } as object), refused("max_token"));
    assert.throws(() => model.generate("a", { thinking: true } as object), InvalidParams);
    assert.throws(() => model.generate("a", { toString: 1 } as object), InvalidParams);
  });

  test("that the worker refuses names the option as its caller wrote it", async () => {
    const { script, model, worker } = await startModel();
    const refusals: [field: string, message: string, wanted: string, told: string][] = [
      ["max_tokens", "`max_tokens` is -1; give more", "maxTokens", "`maxTokens` is -1; give more"],
      ["stop_tokens[1]", "`stop_tokens[1]` is -4", "stopTokens[1]", "`stopTokens[1]` is -4"],
      ["messages[0].content", "needs `messages[0].content`", "messages[0].content", "needs `mess"],
      ["path", "`load_seconds` is no `adapter_path`", "path", "`load_seconds` is no `adapterPath`"],
    ];
    for (const [field, message, wanted, told] of refusals) {
      const step = model.generate("a").next();
      script.fail(await script.next("generate"), "invalid_params", { message, data: { field } });
      await assert.rejects(step, (error) => {
        assert.ok(error instanceof InvalidParams);
        assert.deepEqual([error.field, error.data], [wanted, { field }]);
        return error.message.includes(told);
      });
    }
    const cancelling = worker.cancel("");
    const refusal = { message: "`target` is empty", data: { field: "target" } };
    script.fail(await script.next("cancel"), "invalid_params", refusal);
    await assert.rejects(cancelling, { field: "requestId", message: "`requestId` is empty" });
  });

  test("to the prompt cache names its action", async () => {
    const { script, model } = await startModel();
    const asked = [
      model.cache.stats(),
      model.cache.clear(),
      model.cache.warm("a"),
      model.cache.warm([{ role: "user", content: "b" }]),
      model.cache.save("/c"),
      model.cache.load(new URL("file:///d")),
    ];
    const sent: unknown[] = [];
    for (const _ of asked) {
      const { id, cmd, ...fields } = await script.next("cache");
      sent.push(fields);
      script.fail({ id, cmd }, "internal");
    }
    await Promise.allSettled(asked);
    assert.deepEqual(sent, [
      { action: "stats" },
      { action: "clear" },
      { action: "warm", prompt: "a" },
      { action: "warm", messages: [{ role: "user", content: "b" }] },
      { action: "save", path: "/c" },
      { action: "load", path: "/d" },
    ]);
  });
});
