/** A conversation with a model: the turns so far, and the present answer. */
export class Conversation {
  #model;
  #turns = [];
  #stream = null;

  constructor(model) {
    this.#model = model;
  }

  /**
   * Ask, and call `tell` with each piece of the answer as it comes. A cancelled answer stays in the
   * history as far as it had come; a turn that failed does not.
   */
  async ask(content, tell) {
    const asked = [...this.#turns, { role: "user", content }];
    this.#stream = this.#model.chat(asked, { maxTokens: 512 });
    let answer = "";
    try {
      for await (const token of this.#stream) {
        answer += token.text;
        tell(token.text);
      }
      const done = await this.#stream.done;
      this.#turns = [...asked, { role: "assistant", content: answer }];
      return done;
    } finally {
      this.#stream = null;
    }
  }

  /** Cancel the present answer. Gives false if there is none. */
  cancel() {
    if (this.#stream === null) return false;
    this.#stream.cancel().catch(() => {}); // `ask` rejects with the same error
    return true;
  }
}
