import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ProtocolViolation, RequestCancelled, Worker } from "../src/index.js";
import type { JsonObject } from "../src/wire/json.js";
import { skipWithoutWorker as skip, workerCommand } from "./support/repository.js";
import { startModel } from "./support/scriptedWorker.js";

const MOCK = { command: workerCommand("mock"), startTimeoutMs: 120_000 };
const TOOLS = [{ type: "function" as const, function: { name: "add" } }];
const CALL = '<tool_call> {"name": "add", "arguments": {"a": 2}} </tool_call>';

suite("a chat with the mock, which splits what it echoes", { skip }, () => {
  test("keeps thoughts out of the text", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const stream = model.chat("<think> hm, so </think> It is five.");
    assert.deepEqual(
      [await stream.thoughts(), await stream.text(), await stream.thoughts()],
      ["hm, so", "It is five.", "hm, so"],
    );
    assert.equal((await stream.done).metrics.thinkingTokens, 2);
    assert.deepEqual(await stream.toolCalls(), []);
  });

  test("gives each token its channel", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const channels: (string | null)[] = [];
    for await (const token of model.chat("<think> hm </think> Five.")) {
      channels.push(token.channel);
    }
    assert.deepEqual(channels, [null, "thinking", null, null]);
  });

  test("gives the parts of a call as they come, and the whole call at the end", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const stream = model.chat(`<think> hm </think> Let us see. ${CALL}`, { tools: TOOLS });
    let name = "";
    let given = "";
    let text = "";
    for await (const token of stream) {
      name += token.toolCall?.name ?? "";
      given += token.toolCall?.arguments ?? "";
      text += token.channel === null ? token.text : "";
    }
    const [call] = await stream.toolCalls();
    assert.ok(call);
    assert.deepEqual([name, JSON.parse(given), text], ["add", { a: 2 }, "Let us see."]);
    assert.deepEqual(
      [call.name, call.arguments, call.index, call.argumentsError],
      ["add", given, 0, null],
    );
    assert.equal((await stream.done).finishReason, "tool_calls");
    assert.equal(await stream.toolError(), null);
  });

  test("gives the turn that the next round needs", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const asked = { role: "user", content: `<think> hm </think> ${CALL}` };
    const turn = await model.chat([asked], { tools: TOOLS }).message();
    const [call] = turn.tool_calls ?? [];
    assert.deepEqual(turn, {
      role: "assistant",
      content: null,
      reasoning_content: "hm",
      tool_calls: [
        { id: call?.id, type: "function", function: { name: "add", arguments: '{"a": 2}' } },
      ],
    });
    const result = { role: "tool", content: "It is 5.", tool_call_id: call?.id };
    const answer = model.chat([asked, turn, result], { tools: TOOLS });
    assert.equal(await answer.text(), "It is 5.");
    assert.deepEqual(await answer.toolCalls(), []);
  });

  test("has no turn after a loop that was left", async () => {
    const { script, model } = await startModel();
    const stream = model.chat("a", { tools: TOOLS });
    const step = stream.next();
    const request = await script.next("chat");
    script.tokens(request, 0, 1);
    await step;
    const left = stream.return();
    await script.next("cancel");
    script.done(request, "cancelled", { stage: "decode" });
    await left;
    for (const asked of [stream.message(), stream.toolCalls(), stream.text()]) {
      await assert.rejects(asked, RequestCancelled);
    }
  });

  test("tells of a call that did not become whole", async () => {
    await using worker = await Worker.start(MOCK);
    const model = await worker.load("any");
    const stream = model.chat('<tool_call> {"name": "sub"} </tool_call>', { tools: TOOLS });
    assert.match((await stream.toolError())?.message ?? "", /sub/);
    assert.match(await stream.text(), /<tool_call>/);
  });
});

suite("parts of tool calls", () => {
  const offences: [name: string, tools: boolean, part: JsonObject][] = [
    ["without tools", false, { seq: 0, index: 0, call_id: "c", name: "add" }],
    ["out of turn", true, { seq: 5, index: 0, call_id: "c", name: "add" }],
    ["without an index", true, { seq: 0, call_id: "c", name: "add" }],
    ["with arguments that are no text", true, { seq: 0, index: 0, arguments: {} }],
  ];
  for (const [name, tools, part] of offences) {
    test(`${name} are a violation`, async () => {
      const { script, model } = await startModel();
      const step = model.chat("a", tools ? { tools: TOOLS } : {}).next();
      const request = await script.next("chat");
      script.say({ id: request.id, type: "tool_call", ...part });
      await assert.rejects(step, ProtocolViolation);
    });
  }

  test("use up the window, and count as no tokens", async () => {
    const { script, model } = await startModel();
    const stream = model.chat("a", { tools: TOOLS });
    const step = stream.next();
    const request = await script.next("chat");
    const { id } = request;
    const window = request.window as number;
    script.say({ id, type: "tool_call", seq: 0, index: 0, call_id: "c", name: "add" });
    assert.equal((await step).value?.toolCall?.name, "add");
    for (let seq = 1; seq < window; seq += 1) {
      const rest = stream.next();
      script.say({ id, type: "tool_call", seq, index: 0, arguments: " " });
      await rest;
    }
    const credit = await script.next("credit");
    assert.ok((credit.n as number) > 0);
    const last = stream.next();
    script.fail(request, "out_of_memory");
    await assert.rejects(last, { tokensDelivered: 0 });
  });
});
