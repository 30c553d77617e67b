import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { MlxwireError } from "../src/index.js";
import { startModel } from "./support/scriptedWorker.js";

suite("a batch", () => {
  const item = (id: string, index: number, more: object = {}) => ({
    ...{ id, type: "item", index, text: `text ${index}`, token_ids: [1, 2] },
    ...{ finish_reason: "stop", tokens_generated: 2, error: null },
    ...more,
  });

  test("gives its items in the order of the prompts, each with its own failure", async () => {
    const { script, model } = await startModel();
    const items = model.batch(["a", "b"]).items();
    const request = await script.next("batch");
    assert.deepEqual(request.prompts, ["a", "b"]);
    const error = { code: "context_overflow", message: "m", retryable: false, data: {} };
    script.say(item(request.id, 1), item(request.id, 0, { error, finish_reason: null }));
    script.done(request);
    const [first, second] = await items;
    assert.ok(first?.error instanceof MlxwireError);
    assert.deepEqual([first.error.code, first.finishReason], ["context_overflow", null]);
    assert.deepEqual([second?.text, second?.tokenIds, second?.error], ["text 1", [1, 2], null]);
  });

  test("without the option stream counts the tokens of its items", async () => {
    const { script, model } = await startModel();
    const stream = model.batch(["a", "b"]);
    const step = stream.next();
    const request = await script.next("batch");
    script.say(item(request.id, 1));
    const { value } = await step;
    assert.deepEqual([value?.type, value?.type === "item" && value.error], ["item", null]);
    script.fail(request, "internal");
    await assert.rejects(stream.next(), { tokensDelivered: 2 });
  });

  test("with the option stream gives tokens too, and counts them", async () => {
    const { script, model } = await startModel();
    const stream = model.batch(["a", "b"], { stream: true });
    const step = stream.next();
    const request = await script.next("batch");
    assert.equal(request.stream, true);
    const token = { id: request.id, type: "token", token: "x", token_id: 1, flush: false };
    script.say({ ...token, seq: 0, index: 1 }, { ...token, seq: 0, index: 0 });
    script.say(item(request.id, 1));
    const messages = [await step, await stream.next(), await stream.next()];
    assert.deepEqual(
      messages.map(({ value }) => [value?.type, value?.index]),
      [
        ["token", 1],
        ["token", 0],
        ["item", 1],
      ],
    );
    script.fail(request, "internal");
    await assert.rejects(stream.next(), { tokensDelivered: 2 });
  });

  test("of classify gives its items in order", async () => {
    const { script, model } = await startModel();
    const items = model.classify(["a", "b"], { labels: ["x"] }).items();
    const request = await script.next("classify");
    assert.deepEqual(request.labels, ["x"]);
    const answer = { id: request.id, type: "item", token: "t", token_id: 3 };
    script.say(
      { ...answer, index: 1, logprob: null },
      { ...answer, index: 0, logprob: -1, labels: { x: 1 } },
    );
    script.done(request);
    assert.deepEqual(await items, [
      {
        index: 0,
        text: "t",
        tokenId: 3,
        logprob: -1,
        logits: null,
        labels: { x: 1 },
        label: "x",
        error: null,
      },
      {
        index: 1,
        text: "t",
        tokenId: 3,
        logprob: null,
        logits: null,
        labels: null,
        label: null,
        error: null,
      },
    ]);
  });
});
