import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { z } from "zod";
import {
  CallCutOff,
  InvalidParams,
  jsonSchema,
  runTools,
  type Token,
  TooManyRounds,
  toolFunction,
  Worker,
} from "../src/index.js";
import type { JsonObject } from "../src/wire/json.js";
import { repositoryPath, skipWithoutWorker as skip, workerCommand } from "./support/repository.js";
import { type ScriptedWorker, startModel } from "./support/scriptedWorker.js";

const MOCK = { command: workerCommand("mock"), startTimeoutMs: 120_000 };
const TINY = { command: workerCommand("mlx"), startTimeoutMs: 120_000 };

const add = toolFunction({
  name: "add",
  description: "Add two numbers.",
  parameters: z.object({ a: z.number(), b: z.number() }),
  run: ({ a, b }) => `It is ${a + b}.`,
});

/** Write a call as the mock reads it from what it echoes. */
function written(name: string, given: object): string {
  return `<tool_call> ${JSON.stringify({ name, arguments: given })} </tool_call>`;
}

suite("runTools with the mock, which echoes calls and results", { skip }, () => {
  test("runs functions until an answer has no calls", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const tokens: Token[] = [];
    const question = `<think> hm </think> ${written("add", { a: 2, b: 3 })}`;
    const onToken = (token: Token): void => {
      tokens.push(token);
    };
    const answer = await runTools(model, question, [add], { onToken });
    assert.deepEqual([answer.text, answer.thoughts, answer.rounds], ["It is 5.", "", 2]);
    assert.equal(answer.done.finishReason, "stop");
    assert.deepEqual(
      answer.messages.map(({ role, content }) => [role, content]),
      [
        ["user", question],
        ["assistant", null],
        ["tool", "It is 5."],
        ["assistant", "It is 5."],
      ],
    );
    assert.equal(answer.messages[2]?.tool_call_id, answer.messages[1]?.tool_calls?.[0]?.id);
    assert.ok(tokens.some((token) => token.toolCall?.name === "add"));
    assert.ok(tokens.some((token) => token.channel === "thinking"));
  });

  const never = toolFunction({
    name: "never",
    parameters: jsonSchema({ type: "object" }),
    run: () => Promise.reject(new Error("no power")),
  });
  const empty = toolFunction({
    name: "empty",
    parameters: jsonSchema({ type: "object" }),
    run: () => undefined,
  });
  const even = toolFunction({
    name: "even",
    parameters: z.object({ n: z.number().refine((n) => n % 2 === 0, "n is odd") }),
    run: ({ n }) => ({ half: n / 2 }),
  });
  for (const [name, given, told] of [
    ["never", {}, /^error: no power$/],
    ["empty", {}, /^null$/],
    ["even", { n: 4 }, /^\{"half":2\}$/],
    ["even", { n: 3 }, /^error: the arguments are not valid: n is odd$/],
    ["even", { n: "x" }, /^error: the arguments are not valid: /],
  ] as const) {
    test(`tells the model what ${name} of ${JSON.stringify(given)} gave`, async () => {
      await using worker = await Worker.start(MOCK);
      const model = await worker.load("any");
      const answer = await runTools(model, written(name, given), [never, empty, even]);
      assert.match(String(answer.messages[2]?.content), told);
    });
  }

  test("ends after maxRounds answers with calls", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const again = toolFunction({
      name: "again",
      parameters: jsonSchema({ type: "object" }),
      run: () => written("again", {}),
    });
    const run = runTools(model, written("again", {}), [again], { maxRounds: 3 });
    await assert.rejects(run, (error) => {
      assert.ok(error instanceof TooManyRounds);
      assert.equal(error.code, "invalid_answer");
      assert.equal(error.messages.filter(({ role }) => role === "tool").length, 3);
      return true;
    });
  });

  test("ends with the signal's reason while a function runs", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const controller = new AbortController();
    const slow = toolFunction({
      name: "slow",
      parameters: jsonSchema({ type: "object" }),
      run: (_given, { signal, call }) => {
        assert.equal(signal, controller.signal);
        assert.equal(call.name, "slow");
        controller.abort(new Error("enough"));
      },
    });
    const run = runTools(model, written("slow", {}), [slow], { signal: controller.signal });
    await assert.rejects(run, /enough/);
  });
});

suite("runTools", () => {
  test("forces a call in the first round only, and knows a tool that is not there", async () => {
    const { script, model } = await startModel();
    const run = runTools(model, "hello", [add], { toolChoice: "required" });
    const first = await script.next("chat");
    assert.equal(first.tool_choice, "required");
    assert.deepEqual(Object.keys((first.tools as { function: object }[])[0]?.function ?? {}), [
      "name",
      "parameters",
      "description",
    ]);
    const call = { index: 0, call_id: "c", name: "sub", arguments: "{}", arguments_error: null };
    script.done(first, "tool_calls", { tool_calls: [call], tool_error: null });
    const second = await script.next("chat");
    assert.equal("tool_choice" in second, false);
    assert.match(JSON.stringify(second.messages), /there is no tool .*sub.*the tools are: add/);
    script.done(second, "stop", { tool_calls: [], tool_error: null });
    assert.equal((await run).rounds, 2);
  });

  /** Answer the next request with a call that did not become whole, after whole ones. */
  async function failCall(
    script: ScriptedWorker,
    calls: readonly object[],
    cutOff: boolean,
  ): Promise<void> {
    const request = await script.next("chat");
    script.tokens(request, 0, 1);
    script.done(request, cutOff ? "length" : calls.length > 0 ? "tool_calls" : "stop", {
      tool_calls: calls as JsonObject[],
      tool_error: { index: null, message: "it has no name", text: "<call>", cut_off: cutOff },
    });
  }
  const whole = {
    index: 0,
    call_id: "c",
    name: "add",
    arguments: '{"a":1,"b":2}',
    arguments_error: null,
  };
  const problem = "error: a tool call was not run: it has no name; the tools are: add";

  test("tells the model of a call that can't be read, and goes on", async () => {
    const { script, model } = await startModel();
    const run = runTools(model, "hello", [add]);
    await failCall(script, [], false);
    const second = await script.next("chat");
    assert.deepEqual((second.messages as object[]).slice(1), [
      { role: "assistant", content: "t0 " },
      { role: "user", content: problem },
    ]);
    script.tokens(second, 0, 1);
    script.done(second, "stop", { tool_calls: [], tool_error: null });
    const { text, rounds } = await run;
    assert.deepEqual([text, rounds], ["t0 ", 2]);
  });

  test("tells of such a call with the results of others, and counts the round", async () => {
    const { script, model } = await startModel();
    const run = runTools(model, "hello", [add], { maxRounds: 1 });
    await failCall(script, [whole], false);
    await assert.rejects(run, (error) => {
      assert.ok(error instanceof TooManyRounds);
      assert.match(error.message, /in round 1, the last one allowed/);
      assert.equal(error.messages.at(-1)?.content, `It is 3.\n\n${problem}`);
      return true;
    });
  });

  test("rejects with a call that maxTokens cut, and runs nothing", async (t) => {
    const { script, model } = await startModel();
    const run = t.mock.fn();
    const idle = toolFunction({ name: "add", parameters: jsonSchema({ type: "object" }), run });
    const running = runTools(model, "hello", [idle]);
    await failCall(script, [whole], true);
    await assert.rejects(running, (error) => {
      assert.ok(error instanceof CallCutOff);
      assert.deepEqual([error.code, error.text], ["invalid_answer", "t0 "]);
      assert.equal(error.done?.toolError?.text, "<call>");
      assert.deepEqual(error.messages, [{ role: "user", content: "hello" }]);
      return true;
    });
    assert.equal(run.mock.callCount(), 0);
  });

  test("is not the only taker of its functions: a chat sends their definitions", async () => {
    const { script, model } = await startModel();
    const calls = model
      .chat("hello", { tools: [add, { function: { name: "other" } }] })
      .toolCalls();
    const request = await script.next("chat");
    assert.deepEqual(request.tools, [add.tool, { function: { name: "other" } }]);
    script.done(request, "stop", { tool_calls: [], tool_error: null });
    assert.deepEqual(await calls, []);
  });

  test("takes no plain JSON Schema for a schema of a library", () => {
    const parameters = { type: "object", properties: {} } as unknown as z.ZodType;
    assert.throws(() => toolFunction({ name: "x", parameters, run: () => 1 }), {
      name: "InvalidParams",
      field: "parameters",
      message: /give one, or `jsonSchema\(schema\)` around a JSON Schema/,
    });
  });

  test("refuses options that it has no use for", async () => {
    const { model } = await startModel();
    for (const options of [
      { tools: [] },
      { responseFormat: { type: "json_object" } },
      { maxRounds: 0 },
      { onToken: 1 },
      { colour: "red" },
    ]) {
      await assert.rejects(runTools(model, "hello", [add], options as object), InvalidParams);
    }
  });
});

suite("runTools with a real model", { skip }, () => {
  test("calls a function with arguments of its schema", async () => {
    await using worker = await Worker.start(TINY);
    const model = await worker.load(repositoryPath("testdata/tiny"));
    const given: string[] = [];
    const look = toolFunction({
      name: "look",
      parameters: z.object({ at: z.enum(["sky", "sea"]) }),
      run: ({ at }) => {
        given.push(at);
        return "blue";
      },
    });
    const options = { toolChoice: "required", parallelToolCalls: false, maxTokens: 100 };
    const answer = await runTools(model, "Look.", [look], options);
    assert.equal(given.length, 1);
    assert.match(given[0] ?? "", /^(sky|sea)$/);
    assert.equal(answer.rounds, 2);
  });
});
