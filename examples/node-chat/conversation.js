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
   * Ask, and call `tell` with each piece of the answer as it comes. A cancelled answer stays in the
   * history as far as it had come; a turn that failed does not.
   */
  async ask(content, tell) {
    const asked = [...this.#turns, { role: "user", content }];
    const stream = this.#model.chat(asked, { maxTokens: 512 });
    let answer = "";
    this.#stream = stream;
    this.#cancelled = false;
    try {
      for await (const token of stream) {
        answer += token.text;
        tell(token.text);
      }
    } catch (error) {
      if (!this.#cancelled || !(error instanceof RequestCancelled)) throw error;
    } finally {
      this.#stream = null;
    }
    const done = await stream.done;
    this.#turns = [...asked, { role: "assistant", content: answer }];
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
