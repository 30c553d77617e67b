/** Text that was held back to the end comes in a message of its own and is no token (SPEC §5). */

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { startModel } from "../support/scriptedWorker.js";

const HELD_BACK = { type: "token", token: "!", token_id: 1, flush: true };

suite("text that was held back", () => {
  test("does not count as a delivered token", async () => {
    const { script, model } = await startModel();
    const asked = model.generate("a").text();
    const request = await script.next("generate");
    script.tokens(request, 0, 2);
    script.say({ ...HELD_BACK, id: request.id, seq: 2 });
    script.fail(request, "deadline_exceeded", { data: { tokens_generated: 2 } });
    await assert.rejects(asked, { tokensDelivered: 2, data: { tokens_generated: 2 } });
  });

  test("does not count as a delivered token of a batch either", async () => {
    const { script, model } = await startModel();
    const asked = model.batch(["a"], { stream: true }).items();
    const request = await script.next("batch");
    script.say({ ...HELD_BACK, id: request.id, seq: 0, index: 0, flush: false });
    script.say({ ...HELD_BACK, id: request.id, seq: 1, index: 0 });
    script.fail(request, "internal");
    await assert.rejects(asked, { tokensDelivered: 1 });
  });
});
