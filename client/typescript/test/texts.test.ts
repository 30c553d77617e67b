import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  ContextOverflow,
  InvalidParams,
  type Model,
  type Progress,
  ProtocolViolation,
} from "../src/index.js";
import { startModel } from "./support/scriptedWorker.js";

const FAILURE = { code: "context_overflow", message: "too long", retryable: false, data: {} };
const CLASSIFIED = { token: "a", token_id: 1, logprob: -0.5 };
/** The float32 numbers 1 and -2 in base64, the least byte first. */
const ONE_AND_MINUS_TWO = "AACAPwAAAMA=";
const EMBEDDED = { embedding: ONE_AND_MINUS_TWO, tokens: 2 };
const SCORED = { token_ids: [3, 4], pieces: ["a", " b"], logprobs: [null, -0.5], perplexity: 1.6 };
const TURN = { role: "user", content: "Hi" };

suite("a text that fails has its own error, and fails no other", () => {
  for (const [command, item] of [
    ["classify", CLASSIFIED],
    ["embed", EMBEDDED],
    ["score", SCORED],
  ] as const) {
    test(command, async () => {
      const { worker, script, model } = await startModel();
      const reports: Progress[] = [];
      const onProgress = (report: Progress) => reports.push(report);
      const items = model[command](["long", "b"], { onProgress }).items();
      const request = await script.next(command);
      const { id } = request;
      script.say({ id, type: "item", index: 1, ...item });
      script.say({ id, type: "item", index: 0, error: FAILURE });
      script.done(request);
      const [failed, whole] = await items;
      assert.deepEqual([failed?.index, whole?.index, whole?.error], [0, 1, null]);
      assert.ok(failed?.error instanceof ContextOverflow);
      const stage = command === "classify" ? "prompts" : "texts";
      assert.deepEqual(reports, [
        { stage, done: 1, total: 2 },
        { stage, done: 2, total: 2 },
      ]);
      await worker.close();
    });
  }
});

suite("a stream with items", () => {
  test("gives them as they are computed", async () => {
    const { worker, script, model } = await startModel();
    const stream = model.classify(["a", "b"]);
    const first = stream.next();
    const request = await script.next("classify");
    script.say({ id: request.id, type: "item", index: 1, ...CLASSIFIED });
    assert.equal((await first).value?.index, 1);
    script.say({ id: request.id, type: "item", index: 0, ...CLASSIFIED });
    script.done(request);
    for await (const item of stream) {
      assert.equal(item.index, 0);
    }
    assert.equal((await stream.done).finishReason, "stop");
    await worker.close();
  });

  test("is a promise of all of them", async () => {
    const { worker, script, model } = await startModel();
    const all = Promise.all([model.embed(["a"]).finally(() => undefined), model.score(["a"])]);
    for (const [command, item] of [
      ["embed", EMBEDDED],
      ["score", SCORED],
    ] as const) {
      const request = await script.next(command);
      script.say({ id: request.id, type: "item", index: 0, ...item });
      script.done(request);
    }
    const [embeddings, scores] = await all;
    assert.deepEqual([scores.length, embeddings.length], [1, 1]);
    const caught = model.classify(["a"]).catch((error: unknown) => error);
    script.fail(await script.next("classify"), "invalid_params");
    assert.ok((await caught) instanceof InvalidParams);
    await worker.close();
  });
});

suite("a classify of conversations", () => {
  test("sends each as a list of turns", async () => {
    const { worker, script, model } = await startModel();
    const items = model.classifyChats(["Hi", [TURN, TURN]], { separator: " " }).items();
    const request = await script.next("classify");
    assert.deepEqual(request.messages, [[TURN], [TURN, TURN]]);
    assert.deepEqual([request.separator, request.prompts], [" ", undefined]);
    script.say({ id: request.id, type: "item", index: 1, ...CLASSIFIED });
    script.say({ id: request.id, type: "item", index: 0, ...CLASSIFIED });
    script.done(request);
    assert.equal((await items).length, 2);
    await worker.close();
  });

  test("refuses a string in the place of the list", async () => {
    const { worker, script, model } = await startModel();
    const wrong = "Hi" as unknown as string[];
    assert.throws(() => model.classifyChats(wrong), { field: "conversations" });
    assert.deepEqual(script.unread, []);
    await worker.close();
  });
});

suite("an embed", () => {
  test("unpacks its vectors", async () => {
    const { worker, script, model } = await startModel();
    const options = { dimensions: 2, normalize: false, promptName: "query" };
    const vectors = model.embed(["a", [1, 2]], options).vectors();
    const request = await script.next("embed");
    assert.deepEqual(request.texts, ["a", [1, 2]]);
    assert.deepEqual(
      [request.encoding_format, request.dimensions, request.normalize, request.prompt_name],
      ["base64", 2, false, "query"],
    );
    script.say({ id: request.id, type: "item", index: 1, ...EMBEDDED });
    script.say({ id: request.id, type: "item", index: 0, ...EMBEDDED });
    script.done(request);
    assert.deepEqual(await vectors, [new Float32Array([1, -2]), new Float32Array([1, -2])]);
    await worker.close();
  });

  test("rejects with the error of a text that failed, if vectors alone are wanted", async () => {
    const { worker, script, model } = await startModel();
    const vectors = model.embed(["long"]).vectors();
    const request = await script.next("embed");
    script.say({ id: request.id, type: "item", index: 0, error: FAILURE });
    script.done(request);
    await assert.rejects(vectors, ContextOverflow);
    await worker.close();
  });

  test("refuses the form of its vectors on the wire as an option", async () => {
    const { worker, script, model } = await startModel();
    const wrong: object = { encodingFormat: "float" };
    assert.throws(() => model.embed(["a"], wrong), /encodingFormat.*promptName/);
    assert.deepEqual(script.unread, []);
    await worker.close();
  });
});

suite("an item that the wire forbids ends the worker", () => {
  const items: readonly [command: "embed" | "score" | "classify", item: object][] = [
    ["embed", { embedding: "A?==", tokens: 1 }],
    ["embed", { embedding: "AAAA", tokens: 1 }],
    ["embed", { embedding: [1], tokens: 1 }],
    ["embed", { embedding: ONE_AND_MINUS_TWO }],
    ["embed", { error: { message: "m" } }],
    ["score", { ...SCORED, logprobs: ["0"] }],
    ["score", { ...SCORED, perplexity: undefined }],
    ["score", { ...SCORED, index: 1 }],
    ["classify", { ...CLASSIFIED, error: "too long" }],
  ];
  for (const [command, item] of items) {
    test(`${command}: ${JSON.stringify(item)}`, async () => {
      const { worker, script, model } = await startModel();
      const asked = model[command](["a"]).items();
      const { id } = await script.next(command);
      script.say({ id, type: "item", index: 0, ...item });
      await assert.rejects(asked, ProtocolViolation);
      await worker.closed;
    });
  }
});

suite("a rerank", () => {
  test("names the documents by score", async () => {
    const { worker, script, model } = await startModel();
    const ranked = model.rerank("q", ["d", "e"], { topN: 2, instruction: "i" });
    const request = await script.next("rerank");
    assert.deepEqual(
      [request.query, request.documents, request.top_n, request.instruction],
      ["q", ["d", "e"], 2, "i"],
    );
    const results = [
      { index: 1, relevance_score: 0.9 },
      { index: 0, relevance_score: 0.1 },
    ];
    script.answer(request, { results, metrics: { prompt_tokens: 7 } });
    assert.deepEqual(await ranked, [
      { index: 1, relevanceScore: 0.9, document: "e" },
      { index: 0, relevanceScore: 0.1, document: "d" },
    ]);
    assert.equal(model.metrics?.promptTokens, 7);
    await worker.close();
  });

  test("of a document that was not given is a violation", async () => {
    const { worker, script, model } = await startModel();
    const ranked = model.rerank("q", ["d"]);
    const results = [{ index: 1, relevance_score: 0.9 }];
    script.answer(await script.next("rerank"), { results, metrics: {} });
    await assert.rejects(ranked, ProtocolViolation);
    await worker.close();
  });
});

test("a render tells the tokens of each message", async () => {
  const { worker, script, model } = await startModel();
  const rendered = model.render("Hi", { thinking: false, toolChoice: "none" });
  const request = await script.next("render");
  assert.deepEqual(
    [request.messages, request.thinking, request.tool_choice],
    [[TURN], false, "none"],
  );
  const messages = [{ index: 0, start: 0, count: 2 }];
  const prompt = { prompt: "user: Hi", ids: [1, 2, 3], count: 3, answer_start: 2 };
  script.answer(request, { ...prompt, messages });
  const { answer_start: answerStart, ...same } = prompt;
  assert.deepEqual(await rendered, { ...same, messages, answerStart });
  await worker.close();
});

suite("a model that is gone says so", () => {
  const calls: readonly [name: string, call: (model: Model) => Promise<unknown>][] = [
    ["render", (model) => model.render("a")],
    ["embed", (model) => model.embed(["a"]).items()],
    ["score", (model) => model.score(["a"]).items()],
    ["rerank", (model) => model.rerank("a", ["b"])],
    ["fit", (model) => model.fit()],
  ];
  for (const [name, call] of calls) {
    test(name, async () => {
      const { worker, script, model } = await startModel();
      const closed = model.close();
      script.answer(await script.next("unload"), { ok: true });
      await closed;
      await assert.rejects(call(model), { code: "model_not_loaded" });
      await worker.close();
    });
  }
});
