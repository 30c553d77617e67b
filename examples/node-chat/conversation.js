/** A conversation with a model: the turns so far, and the present answer. */
import { RequestCancelled } from "mlxwire";

export class Conversation {
  #model;
  #turns = [];
  #stream = null;
  #cancelled = false;

  constructor(model) {
    this.#model = model;
  }

  /**
   * Ask, and call `tell` with each token of the answer and of its thoughts as it comes. A cancelled
   * answer stays in the history as far as it had come; a turn that failed does not. Thoughts stay
   * apart from the answer, so that the model's template can leave them out of the next prompt.
   */
  async ask(content, tell) {
    const asked = [...this.#turns, { role: "user", content }];
    const stream = this.#model.chat(asked, { maxTokens: 512 });
    let answer = "";
    let thoughts = "";
    this.#stream = stream;
    this.#cancelled = false;
    try {
      for await (const token of stream) {
        if (token.channel === null) answer += token.text;
        if (token.channel === "thinking") thoughts += token.text;
        tell(token);
      }
    } catch (error) {
      if (!this.#cancelled || !(error instanceof RequestCancelled)) throw error;
    } finally {
      this.#stream = null;
    }
    const done = await stream.done;
    const thought = thoughts === "" ? {} : { reasoning_content: thoughts };
    this.#turns = [...asked, { role: "assistant", content: answer, ...thought }];
    return done;
  }

  /** Cancel the present answer. Gives false if there is none. */
  cancel() {
    if (this.#stream === null) return false;
    this.#cancelled = true;
    this.#stream.cancel().catch(() => {}); // `ask` rejects with the same error
    return true;
  }
}
