/** A stream of replies: an async iterable over one request, for one consumer and one pass. */

import { DrainTimeout } from "./errors.js";
import type { StreamRequest } from "./requests/streamRequest.js";
import type { BatchItem, BatchToken, Done, Token } from "./results.js";

/**
 * Iterator over arrays of messages. `AsyncIterableIterator` would say the same, but it takes the type
 * of its end only from TypeScript 5.6 on.
 */
export interface Chunks<T> extends AsyncIterator<T[], undefined>, AsyncIterable<T[]> {
  [Symbol.asyncIterator](): Chunks<T>;
}

/**
 * Async iterator over the replies of one request. The request is sent at the first `next()`.
 *
 * Leaving a `for await` early, by `break`, `return` or an exception, cancels the request in the
 * worker and waits until the worker confirms, as do `cancel` and `await using`. The iteration ends
 * without an error only if it was left so, or if the answer is complete. A slow consumer holds up
 * this stream in the worker, and no other stream.
 */
export class Stream<T> implements AsyncIterator<T, undefined>, AsyncIterable<T>, AsyncDisposable {
  protected readonly request: StreamRequest<T>;

  /** @internal */
  constructor(request: StreamRequest<T>) {
    this.request = request;
  }

  /** The id of the request, for `Worker.cancel`. */
  get id(): string {
    return this.request.id;
  }

  /**
   * Settled when the worker has ended the request: with the finish reason, which is `cancelled` after
   * a cancel, the number of tokens and the metrics; or rejected with the error or the abort signal's
   * reason. Reading it takes no messages: a stream that nobody iterates does not end.
   */
  get done(): Promise<Done> {
    return this.request.done;
  }

  /** Begin to iterate. @throws Error if the stream was iterated to its end, or left, before. */
  [Symbol.asyncIterator](): this {
    this.request.refuseSecondPass();
    return this;
  }

  /** Take the next message. Rejects with the error that ended the stream. */
  next(): Promise<IteratorResult<T, undefined>> {
    return this.request.take();
  }

  /** Leave the stream and cancel its rest; a `for await` that is left calls this. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    this.request.leave();
    await this.#drain();
    return { done: true, value: undefined };
  }

  /**
   * Iterate over arrays of all messages at hand at each step, which costs less than one by one.
   *
   * @throws Error if the stream was iterated to its end, or left, before.
   */
  chunks(): Chunks<T> {
    this.request.refuseSecondPass();
    const iterator: Chunks<T> = {
      [Symbol.asyncIterator]: () => {
        this.request.refuseSecondPass();
        return iterator;
      },
      next: () => this.request.takeSome(),
      return: () => this.return(),
    };
    return iterator;
  }

  /**
   * Cancel the rest of the stream and wait for the worker to confirm. An iteration that has not
   * ended rejects with `RequestCancelled`, even if the rest was in the buffer. Does nothing if the
   * stream has ended.
   *
   * @throws DrainTimeout if the worker did not confirm within `drainTimeoutMs`.
   */
  async cancel(): Promise<void> {
    this.request.cancel();
    await this.#drain();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cancel();
  }

  async #drain(): Promise<void> {
    await this.request.whenDrained();
    const { failure } = this.request;
    if (failure?.reason instanceof DrainTimeout) {
      throw failure.reason;
    }
  }
}

/** The stream of `Token`s that `Model.generate` and `Model.chat` give. */
export class TokenStream extends Stream<Token> {
  #text: Promise<string> | null = null;

  /**
   * Collect the whole plain text; other channels, such as thinking, are left out. A second call
   * gives the same text. Rejects if tokens were taken before, and with `RequestCancelled` if the
   * request was cancelled.
   */
  text(): Promise<string> {
    this.#text ??= this.#collect();
    return this.#text;
  }

  async #collect(): Promise<string> {
    if (this.request.begun) {
      throw new Error(
        "tokens of this stream were taken already, so text() can't give the whole text; call text() " +
          "first, or join the text of the tokens yourself",
      );
    }
    let text = "";
    for await (const tokens of this.chunks()) {
      for (const token of tokens) {
        text += token.channel === null ? token.text : "";
      }
    }
    return text;
  }
}

/**
 * The stream of `BatchItem`s that `Model.batch` gives, in the order in which the prompts end. With
 * the option `stream` it also gives their `BatchToken`s; `type` tells the two apart.
 */
export class BatchStream extends Stream<BatchItem | BatchToken> {
  #items: Promise<BatchItem[]> | null = null;

  /**
   * Collect all items, in the order of the prompts. A second call gives the same array. Rejects if
   * messages were taken before, and with `RequestCancelled` if the request was cancelled.
   */
  items(): Promise<BatchItem[]> {
    this.#items ??= this.#collect();
    return this.#items;
  }

  async #collect(): Promise<BatchItem[]> {
    if (this.request.begun) {
      throw new Error(
        "messages of this stream were taken already, so items() can't give all items; call items() " +
          "first, or keep the items yourself",
      );
    }
    const items: BatchItem[] = [];
    for await (const message of this) {
      if (message.type === "item") {
        items.push(message);
      }
    }
    return inOrder(items);
  }
}

/** Sort items by the order of their prompts. */
export function inOrder<T extends { readonly index: number }>(items: T[]): T[] {
  return items.sort((one, other) => one.index - other.index);
}
