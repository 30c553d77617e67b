import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ask } from "../../src/requests/ask.js";
import type { Route } from "../../src/requests/route.js";
import { startScripted } from "../support/scriptedWorker.js";

suite("a request whose route has to find its connection first", () => {
  test("rejects if it can't be sent", async () => {
    const { worker, script } = await startScripted();
    const { connection } = script;
    const later: Route = { limits: connection.limits, connect: async () => connection };
    const text = "x".repeat(worker.limits.maxLineBytes);
    const asked = ask(later, "metrics", { text }, (message) => message);
    await assert.rejects(asked, { code: "message_too_large" });
  });
});
