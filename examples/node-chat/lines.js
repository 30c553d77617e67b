/** Reads lines of a terminal, with a prompt and an editor, or of a pipe; hears Ctrl-C in both. */
import { createInterface } from "node:readline";

export class Lines {
  #reader;
  #iterator;
  #output;
  #prompts;
  #left = false;
  #forget = () => {};

  constructor(input, output) {
    this.#output = output;
    this.#prompts = input.isTTY;
    this.#reader = createInterface({ input, output: input.isTTY ? output : undefined });
    this.#reader.once("close", () => {
      this.#prompts = false;
    });
    this.#iterator = this.#reader[Symbol.asyncIterator](); // keeps lines that come before the first next()
  }

  /** Call `tell` at Ctrl-C. A terminal that edits lines gives it to the editor; elsewhere it is a signal. */
  onInterrupt(tell) {
    this.#reader.on("SIGINT", tell);
    process.on("SIGINT", tell);
    this.#forget = () => process.off("SIGINT", tell);
  }

  async *[Symbol.asyncIterator]() {
    while (!this.#left) {
      if (this.#prompts) this.#reader.prompt();
      const { done, value } = await this.#iterator.next();
      if (done || this.#left) return;
      yield value;
    }
  }

  /** Give no more lines, not even those that have come already. */
  leave() {
    this.#left = true;
    this.#forget();
    if (this.#prompts) this.#output.write("\n"); // so that the shell's prompt has a line of its own
    this.#reader.close();
  }
}
