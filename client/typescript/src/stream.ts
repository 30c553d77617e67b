/** A stream of replies: an async iterable over one request, for one consumer and one pass. */

import { DrainTimeout } from "./errors.js";
import type { StreamRequest } from "./requests/streamRequest.js";
import type { BatchItem, BatchToken, Done, Token } from "./results.js";

/**
 * Iterate it for what comes. The request is sent at the first step.
 *
 * Leaving a `for await` early, by `break`, `return` or an exception, cancels the request in the worker
 * and waits for its word, as do `cancel` and `await using`. A consumer that takes its time holds back
 * this stream in the worker, and no other.
 */
export class Stream<T> implements AsyncIterableIterator<T, undefined>, AsyncDisposable {
  protected readonly request: StreamRequest<T>;

  /** @internal */
  constructor(request: StreamRequest<T>) {
    this.request = request;
  }

  /** The request's id, for `Worker.cancel`. */
  get id(): string {
    return this.request.id;
  }

  /**
   * How it ended: why, how many tokens, and the request's metrics. Rejects with what ended it, an
   * abort signal's own reason included. It is settled by the stream's end, and takes nothing itself:
   * a stream that nobody takes does not end.
   */
  get done(): Promise<Done> {
    return this.request.done;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next message. Rejects with what ended the stream. */
  next(): Promise<IteratorResult<T, undefined>> {
    return this.request.take();
  }

  /** `cancel`, as a `for await` that is left calls it. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.cancel();
    return { done: true, value: undefined };
  }

  /** The same stream in arrays of all that is here at each step, which costs less than one by one. */
  chunks(): AsyncIterableIterator<T[], undefined> {
    const iterator: AsyncIterableIterator<T[], undefined> = {
      [Symbol.asyncIterator]: () => iterator,
      next: () => this.request.takeSome(),
      return: () => this.return(),
    };
    return iterator;
  }

  /**
   * Cancel what is left and wait for the worker to confirm. Harmless where it has ended.
   *
   * @throws DrainTimeout where the worker did not within `drainTimeoutMs`.
   */
  async cancel(): Promise<void> {
    this.request.leave();
    await this.request.whenDrained();
    const { failure } = this.request;
    if (failure?.reason instanceof DrainTimeout) {
      throw failure.reason;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cancel();
  }
}

/** A `Stream` of `Token`s, as `Model.generate` and `Model.chat` give. */
export class TokenStream extends Stream<Token> {
  #text: Promise<string> | null = null;

  /**
   * All of its plain text at once; other channels, such as thinking, are left out. Asked again, it
   * is the same text. Rejects where tokens were taken before, and where another call cut it off.
   */
  text(): Promise<string> {
    this.#text ??= this.#collect();
    return this.#text;
  }

  async #collect(): Promise<string> {
    if (!this.request.untouched) {
      throw new Error(
        "tokens of this stream were taken before, and text() gives all of it: join the tokens' text " +
          "yourself, or call text() first",
      );
    }
    let text = "";
    for await (const tokens of this.chunks()) {
      for (const token of tokens) {
        text += token.channel === null ? token.text : "";
      }
    }
    this.request.checkWhole();
    return text;
  }
}

/**
 * A `Stream` of `BatchItem`s, in the order in which the prompts end, and with the option `stream` of
 * their `BatchToken`s before; `type` tells which is which.
 */
export class BatchStream extends Stream<BatchItem | BatchToken> {
  /** All items at once, in the order of the prompts. Rejects where another call cut it off. */
  async items(): Promise<BatchItem[]> {
    const items: BatchItem[] = [];
    for await (const message of this) {
      if (message.type === "item") {
        items.push(message);
      }
    }
    this.request.checkWhole();
    return inOrder(items);
  }
}

/** Items in the order of their prompts. */
export function inOrder<T extends { readonly index: number }>(items: T[]): T[] {
  return items.sort((one, other) => one.index - other.index);
}
