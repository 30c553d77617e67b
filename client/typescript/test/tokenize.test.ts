import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Model, ProtocolViolation, type Tokenized } from "../src/index.js";
import type { JsonObject } from "../src/wire/json.js";
import { startModel } from "./support/scriptedWorker.js";

const TURNS = [{ role: "user", content: "a b" }];
const TOKENS: Tokenized = { ids: [1, 20, 21], count: 3, pieces: ["<s>", "a", " b"] };
const COUNT: Tokenized = { ids: null, count: 3, pieces: null };
const TOOLS = [{ function: { name: "add", parameters: { type: "object" } } }];
const ALL = { thinking: false, specialTokens: true, tools: TOOLS, countOnly: true };
/** Give options as a caller without types would. */
const untyped = (options: object): object => options;

suite("tokenize sends only the options that were given", () => {
  const calls: [call: (model: Model) => Promise<Tokenized>, sent: JsonObject, answer: Tokenized][] =
    [
      [(model) => model.tokenize("a b"), { text: "a b" }, TOKENS],
      [
        (model) => model.tokenize("", { specialTokens: false }),
        { text: "", special_tokens: false },
        TOKENS,
      ],
      [
        (model) => model.tokenize("a b", { countOnly: true }),
        { text: "a b", count_only: true },
        COUNT,
      ],
      [(model) => model.tokenizeChat("a b"), { messages: TURNS }, TOKENS],
      [
        (model) => model.tokenizeChat(TURNS, ALL),
        { messages: TURNS, thinking: false, special_tokens: true, tools: TOOLS, count_only: true },
        COUNT,
      ],
    ];
  for (const [call, sent, answer] of calls) {
    test(JSON.stringify(sent), async () => {
      const { worker, script, model } = await startModel();
      const asked = call(model);
      const request = await script.next("tokenize");
      script.answer(request, { ...answer });
      const { id: _, ...fields } = request;
      assert.deepEqual(fields, { cmd: "tokenize", ...sent });
      assert.deepEqual(await asked, answer);
      await worker.close();
    });
  }
});

test("inspect names the file and its layers", async () => {
  const { model, script } = await startModel();
  const asked = model.inspect("a b", new URL("file:///f.safetensors"), { layers: [1] });
  const request = await script.next("inspect");
  const path = process.platform === "win32" ? "\\f.safetensors" : "/f.safetensors";
  assert.deepEqual(request, { id: request.id, cmd: "inspect", prompt: "a b", path, layers: [1] });
  const shapes = { layers: [1], heads: 1, query_heads: 2, head_dim: 4, tokens: 3 };
  script.answer(request, { path, model_type: "m", ...shapes });
  const told = await asked;
  assert.deepEqual([told.path, told.modelType, told.queryHeads], [path, "m", 2]);
});

test("detokenize gives the text", async () => {
  const { worker, script, model } = await startModel();
  for (const ids of [[20, 21], []]) {
    const asked = model.detokenize(ids);
    const request = await script.next("detokenize");
    script.answer(request, { text: "a b" });
    assert.deepEqual(request.ids, ids);
    assert.equal(await asked, "a b");
  }
  await worker.close();
});

suite("a malformed answer is a protocol violation", () => {
  test("to tokenize", async () => {
    const { worker, script, model } = await startModel();
    const asked = model.tokenize("a");
    script.answer(await script.next("tokenize"), { ids: [1], pieces: ["a"] });
    await assert.rejects(asked, ProtocolViolation);
    await worker.close();
  });

  test("to detokenize", async () => {
    const { worker, script, model } = await startModel();
    const asked = model.detokenize([1]);
    script.answer(await script.next("detokenize"), { text: 1 });
    await assert.rejects(asked, ProtocolViolation);
    await worker.close();
  });
});

test("thinking is no option of a text", async () => {
  const { worker, script, model } = await startModel();
  await assert.rejects(model.tokenize("a", untyped({ thinking: true })), {
    code: "invalid_params",
    message: /`thinking` is no option of tokenize.*countOnly/,
  });
  assert.deepEqual(script.unread, []);
  await worker.close();
});
