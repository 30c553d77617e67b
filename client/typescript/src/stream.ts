/** A stream of replies: an async iterable over one request, for one consumer and one pass. */

import { DrainTimeout } from "./errors.js";
import type { BatchResult, Done, Token } from "./results.js";
import type { StreamRequest } from "./streamRequest.js";

/**
 * Iterate it for what comes. The request is sent at the first step.
 *
 * Leaving a `for await` early, by `break`, `return` or an exception, cancels the request in the worker
 * and waits for its word, as do `close` and `await using`. A consumer that takes its time holds back
 * this stream in the worker, and no other.
 */
export class Stream<T> implements AsyncIterableIterator<T, undefined>, AsyncDisposable {
  protected readonly request: StreamRequest<T>;

  /** @internal */
  constructor(request: StreamRequest<T>) {
    this.request = request;
  }

  /** The request's id, for `Worker.cancel`; null before it is sent. */
  get id(): string | null {
    return this.request.id;
  }

  /**
   * How it ended: why, how many tokens, and the request's metrics.
   *
   * @throws the error that ended it, or an `Error` while it has not ended.
   */
  get done(): Done {
    const { done, failure } = this.request;
    if (done !== null) {
      return done;
    }
    throw failure === null
      ? new Error("the stream has not ended yet: take what it gives, or close it")
      : failure.reason;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next message. Rejects with what ended the stream, an abort signal's own reason included. */
  next(): Promise<IteratorResult<T, undefined>> {
    return this.request.take();
  }

  /** All that is here, at least one; empty at the stream's end. */
  async takeAvailable(): Promise<T[]> {
    const first = await this.request.take();
    return first.done ? [] : [first.value, ...this.request.takeBuffered()];
  }

  /** `close`, as a `for await` that is left calls it. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  /**
   * Cancel what is left and wait for the worker to confirm. Harmless where it has ended.
   *
   * @throws DrainTimeout where the worker did not within `drainTimeoutMs`.
   */
  async close(): Promise<void> {
    this.request.leave();
    await this.request.whenDrained();
    const { failure } = this.request;
    if (failure?.reason instanceof DrainTimeout) {
      throw failure.reason;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A `Stream` of `Token`s, as `Model.generate` and `Model.chat` give. */
export class TokenStream extends Stream<Token> {
  #text: Promise<string> | null = null;

  /**
   * All of its plain text at once; other channels, such as thinking, are left out. Asked again, it
   * is the same text. Rejects where tokens were taken before.
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
    for (let tokens = await this.takeAvailable(); tokens.length > 0; ) {
      for (const token of tokens) {
        text += token.channel === null ? token.text : "";
      }
      tokens = await this.takeAvailable();
    }
    return text;
  }
}

/** A `Stream` of `BatchResult`s, in the order in which the prompts end. */
export class BatchStream extends Stream<BatchResult> {
  /** All of them at once, in the order of the prompts; fewer, if it was cancelled. */
  async results(): Promise<BatchResult[]> {
    return collectInOrder(this);
  }
}

/** Take all of a stream, in the order of the prompts. */
export async function collectInOrder<T extends { readonly index: number }>(
  stream: Stream<T>,
): Promise<T[]> {
  const results: T[] = [];
  for await (const result of stream) {
    results.push(result);
  }
  return results.sort((one, other) => one.index - other.index);
}
