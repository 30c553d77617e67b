/** The turns that a conversation sends, with a model in memory. */
import assert from "node:assert/strict";
import test from "node:test";
import { Conversation } from "../conversation.js";

/** A model that gives each question the same answer, and keeps the messages that it was sent. */
class Model {
  asked = [];

  chat(messages) {
    this.asked.push(messages);
    return {
      done: Promise.resolve({}),
      async *[Symbol.asyncIterator]() {
        yield { text: "hm", channel: "thinking" };
        yield { text: "yes", channel: null };
      },
    };
  }
}

test("a turn keeps its thoughts apart from its content", async () => {
  const model = new Model();
  const conversation = new Conversation(model);
  const told = [];
  await conversation.ask("one", (token) => told.push(token.text));
  await conversation.ask("two", () => {});
  assert.deepEqual(told, ["hm", "yes"]);
  assert.deepEqual(model.asked[1], [
    { role: "user", content: "one" },
    { role: "assistant", content: "yes", reasoning_content: "hm" },
    { role: "user", content: "two" },
  ]);
});
