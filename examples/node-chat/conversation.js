/** A conversation with a model: the turns so far, and the answer that is being given. */
export class Conversation {
  #model;
  #turns = [];
  #stream = null;

  constructor(model) {
    this.#model = model;
  }

  /**
   * Ask, and tell each piece of the answer as it comes. What was cancelled stays in the history as
   * far as it had come; of a turn that failed nothing stays.
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

  /** Cancel the answer that is being given; whether there was one. */
  cancel() {
    if (this.#stream === null) return false;
    this.#stream.cancel().catch(() => {}); // `ask` waits for the same, and tells what goes wrong
    return true;
  }
}
