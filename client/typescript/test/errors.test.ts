import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import * as api from "../src/index.js";
import { Worker } from "../src/index.js";
import { ERRORS_BY_CODE, errorFromCode } from "../src/wire/readReplies.js";
import { repositoryPath } from "./support/repository.js";
import { startModel } from "./support/scriptedWorker.js";

suite("errors", () => {
  const spec = readFileSync(repositoryPath("protocol/SPEC.md"), "utf8").split("## §6")[1] ?? "";
  const [table = "", made = ""] = (spec.split("## §7")[0] ?? "").split("Made by a client");

  test("of the wire have a class for each code, with its retryable of SPEC §6", () => {
    const rows = [...table.matchAll(/^\| `(\w+)`( \(retryable\))?/gm)];
    assert.ok(rows.length > 15);
    for (const [, code = "", retryable] of rows) {
      const kind = ERRORS_BY_CODE.get(code);
      assert.ok(kind && kind.prototype instanceof api.WorkerError, code);
      assert.equal(new kind("m").retryable, retryable !== undefined, code);
    }
  });

  test("of the client have a class for each code too, outside of WorkerError", () => {
    const codes = [...made.matchAll(/`([a-z]+_[a-z]+|timeout|cancelled)`/g)].map(
      ([, code = ""]) => code,
    );
    assert.deepEqual(codes.length, 9);
    for (const code of codes) {
      const kind = ERRORS_BY_CODE.get(code);
      assert.ok(kind && !(kind.prototype instanceof api.WorkerError), code);
    }
  });

  test("sent by the worker are never a WorkerCrashed", () => {
    const error = errorFromCode("worker_crashed", "m", {});
    assert.deepEqual([error.constructor, error.code], [api.WorkerError, "worker_crashed"]);
  });

  test("keep their names under a minifier: each class has its own literal", () => {
    const kinds = Object.entries(api).filter(([, kind]) => {
      return typeof kind === "function" && (kind === api.MlxwireError || "code" in kind);
    });
    assert.ok(kinds.length > 28, String(kinds.length));
    for (const [name, kind] of kinds) {
      const { prototype } = kind as typeof api.MlxwireError;
      assert.deepEqual(Object.getOwnPropertyDescriptor(prototype, "name")?.value, name);
    }
    const source = readFileSync(repositoryPath("client/typescript/src/errors.ts"), "utf8");
    assert.doesNotMatch(source, /(constructor|new\.target)\.name/);
  });

  test("show who called in their stack, also if they came later", async () => {
    const { script, model, worker } = await startModel();
    const shown = async (asked: Promise<unknown>): Promise<void> => {
      await assert.rejects(asked, (error) => {
        assert.ok(error instanceof Error);
        assert.match(String(error.stack), /errors\.test/);
        return String(error.stack).startsWith(`${error.name}: ${error.message}\n    at `);
      });
    };
    const failing = shown(model.generate("a").text());
    script.fail(await script.next("generate"), "internal");
    await failing;
    const cancelled = model.generate("a");
    await cancelled.cancel();
    await shown(cancelled.text());
    const cut = [model.generate("b").text(), model.refreshInfo(), worker.metrics()].map(shown);
    script.exit(1);
    await Promise.all(cut);
    await shown(model.generate("c").text());
    await shown(Worker.start({ command: "/no/such/program" }));
  });

  test("that are a signal's reason stay as their owner made them", async () => {
    const { script, model } = await startModel();
    const reason = new api.WorkerError("mine");
    const { stack } = reason;
    const controller = new AbortController();
    const stream = model.generate("a", { signal: controller.signal });
    const step = stream.next();
    script.tokens(await script.next("generate"), 0, 1);
    await step;
    controller.abort(reason);
    await assert.rejects(stream.next(), (error) => error === reason);
    assert.deepEqual([reason.tokensDelivered, reason.stack], [0, stack]);
  });

  test("are copied with all fields except the count of tokens", () => {
    const error = new api.WorkerCrashed("m", { exitCode: 3, stderrTail: "t" });
    error.tokensDelivered = 5;
    const copy = error.copy();
    assert.ok(copy instanceof api.WorkerCrashed);
    const { name, message, exitCode, stderrTail, tokensDelivered } = copy;
    assert.deepEqual(
      [name, message, exitCode, stderrTail, tokensDelivered],
      ["WorkerCrashed", "m", 3, "t", 0],
    );
  });
});
