/** The stream of one text: its tokens, and the whole text, thoughts and tool calls at the end. */

import type { Message } from "./options.js";
import { cancelledByStream } from "./requests/failures.js";
import type { TokenRequest } from "./requests/modelRequests.js";
import type { Token, ToolCall, ToolError } from "./results.js";
import { Stream } from "./stream.js";

/**
 * The stream of `Token`s that `Model.generate` and `Model.chat` give. Thoughts have the `channel`
 * `thinking`, and parts of tool calls an empty text and a `toolCall`.
 */
export class TokenStream extends Stream<Token> {
  #read: Promise<void> | null = null;

  /** @internal */
  constructor(protected override readonly request: TokenRequest) {
    super(request);
  }

  /**
   * Collect the whole plain text, without thoughts. Tokens may be taken before: the text has theirs
   * too. A second call gives the same text. Rejects with the error that ended the stream, and with
   * `RequestCancelled` if the request was cancelled or a loop over the stream was left.
   */
  async text(): Promise<string> {
    await this.#readRest();
    return this.request.text;
  }

  /** Collect the model's thoughts, empty without any. Rejects as `text` does. */
  async thoughts(): Promise<string> {
    await this.#readRest();
    return this.request.thoughts;
  }

  /** Wait for the end, and give the complete tool calls. Rejects as `text` does. */
  async toolCalls(): Promise<readonly ToolCall[]> {
    await this.#readRest();
    return (await this.done).toolCalls ?? [];
  }

  /** Wait for the end, and give the last tool call that did not become whole; null if all did. */
  async toolError(): Promise<ToolError | null> {
    await this.#readRest();
    return (await this.done).toolError;
  }

  /**
   * Wait for the end, and give the assistant's turn to append to the messages of the next round.
   * Rejects as `text` does.
   */
  async message(): Promise<Message> {
    const calls = await this.toolCalls();
    const { text, thoughts } = this.request;
    return {
      role: "assistant",
      content: text === "" && calls.length > 0 ? null : text,
      ...(thoughts === "" ? {} : { reasoning_content: thoughts }),
      ...(calls.length === 0 ? {} : { tool_calls: calls.map(turnCall) }),
    };
  }

  #readRest(): Promise<void> {
    this.#read ??= this.#drainTokens();
    return this.#read;
  }

  async #drainTokens(): Promise<void> {
    while (!(await this.request.takeSome()).done) {
      // The request keeps the texts.
    }
    if ((await this.done).finishReason === "cancelled") {
      throw cancelledByStream(this.request.command); // a loop was left: the rest is lost
    }
  }
}

function turnCall({ callId, name, arguments: given }: ToolCall) {
  return { id: callId, type: "function" as const, function: { name, arguments: given } };
}
