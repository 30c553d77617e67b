import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import * as api from "../src/index.js";
import { ERRORS_BY_CODE, errorFromCode } from "../src/wire/readReplies.js";
import { repositoryPath } from "./support/repository.js";

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
    assert.deepEqual(codes.length, 8);
    for (const code of codes) {
      const kind = ERRORS_BY_CODE.get(code);
      assert.ok(kind && !(kind.prototype instanceof api.WorkerError), code);
    }
  });

  test("sent by the worker are never a WorkerCrashed", () => {
    const error = errorFromCode("worker_crashed", "m", {});
    assert.deepEqual([error.constructor, error.code], [api.WorkerError, "worker_crashed"]);
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
