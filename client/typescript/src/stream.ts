/** A stream of replies: an async iterable over one request, for one consumer and one pass. */

import { DrainTimeout } from "./errors.js";
import type { StreamRequest } from "./requests/streamRequest.js";
import type {
  BatchItem,
  BatchToken,
  BrokenModel,
  ClassifyItem,
  Done,
  Embedding,
  FoundModel,
  ScoreItem,
} from "./results.js";

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

/** A stream with an item for each prompt, text or model, beside other messages. */
export abstract class Collectable<M, T extends M & Indexed> extends Stream<M> {
  #items: Promise<T[]> | null = null;

  /**
   * Collect all items, in the order of what was asked for. A second call gives the same array. Rejects
   * if messages were taken before, and with `RequestCancelled` if the request was cancelled.
   */
  items(): Promise<T[]> {
    this.#items ??= this.#collect();
    return this.#items;
  }

  /** Tell an item from other messages. */
  protected abstract isItem(message: M): message is T;

  async #collect(): Promise<T[]> {
    if (this.request.begun) {
      throw new Error(
        "messages of this stream were taken already, so items() can't give all items; call items() " +
          "first, or keep the items yourself",
      );
    }
    const items: T[] = [];
    for await (const message of this) {
      if (this.isItem(message)) {
        items.push(message);
      }
    }
    return items.sort((one, other) => one.index - other.index);
  }
}

/** An item with its place among those asked for. */
interface Indexed {
  readonly index: number;
}

/**
 * The stream of `BatchItem`s that `Model.batch` gives, in the order in which the prompts end. With
 * the option `stream` it also gives their `BatchToken`s; `type` tells the two apart.
 */
export class BatchStream extends Collectable<BatchItem | BatchToken, BatchItem> {
  protected override isItem(message: BatchItem | BatchToken): message is BatchItem {
    return message.type === "item";
  }
}

/**
 * Async iterator over items as they come. It is also a promise of all of them, in order: `await` it in
 * place of iterating, and the request is sent then.
 */
export class ItemStream<T extends Indexed> extends Collectable<T, T> implements Promise<T[]> {
  readonly [Symbol.toStringTag] = "ItemStream";

  // biome-ignore lint/suspicious/noThenProperty: a stream may be awaited for its list
  then<R = T[], E = never>(
    onFulfilled?: ((items: T[]) => R | PromiseLike<R>) | null,
    onRejected?: ((reason: unknown) => E | PromiseLike<E>) | null,
  ): Promise<R | E> {
    return this.items().then(onFulfilled, onRejected);
  }

  catch<E = never>(
    onRejected?: ((reason: unknown) => E | PromiseLike<E>) | null,
  ): Promise<T[] | E> {
    return this.items().catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<T[]> {
    return this.items().finally(onFinally);
  }

  protected override isItem(_message: T): _message is T {
    return true;
  }
}

/** The stream of `Model.classify`, in the order in which prompts are computed. */
export class ClassifyStream extends ItemStream<ClassifyItem> {}

/** The stream of `Model.score`, in the order in which texts are computed. */
export class ScoreStream extends ItemStream<ScoreItem> {}

/** The stream of `Worker.discover`: each model as soon as its folder is read. */
export class DiscoverStream extends ItemStream<FoundModel | BrokenModel> {}

/** The stream of `Model.embed`, in the order in which texts are computed. */
export class EmbeddingStream extends ItemStream<Embedding> {
  /**
   * Collect the vectors alone, in the order of the texts. Rejects as `items`, and with the `error` of
   * the first text that failed.
   */
  async vectors(): Promise<Float32Array[]> {
    const items = await this.items();
    for (const { error } of items) {
      if (error !== null) {
        throw error;
      }
    }
    return items.map(({ vector }) => vector);
  }
}
