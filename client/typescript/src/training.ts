/** The stream of a training: its reports, its result, and its checkpoint. */

import type { TrainRequest } from "./requests/trainRequest.js";
import type { TrainProgress, TrainResult } from "./results.js";

/**
 * Async iterator over the reports of a training, which `Model.train` gives. The request is sent at the
 * first `next()`, or when `result` is called; the training then runs whether its reports are taken or
 * not. Leaving a `for await` early cancels the training and waits for its checkpoint, as `cancel`.
 */
export class Training
  implements AsyncIterator<TrainProgress, undefined>, AsyncIterable<TrainProgress>, AsyncDisposable
{
  readonly #request: TrainRequest;

  /** @internal */
  constructor(request: TrainRequest) {
    this.#request = request;
  }

  /** The id of the request, for `Worker.cancel`. */
  get id(): string {
    return this.#request.id;
  }

  /** The folder of the checkpoint that a cancelled or failed training names; null without one. */
  get checkpoint(): string | null {
    return this.#request.checkpoint;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Take the next report. Rejects with the error that ended the training. */
  next(): Promise<IteratorResult<TrainProgress, undefined>> {
    this.#open();
    return this.#request.take();
  }

  /** Cancel the training; a `for await` that is left calls this. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.cancel();
    return { done: true, value: undefined };
  }

  /**
   * Wait for the result; may be called again. Rejects with `RequestCancelled`, whose
   * `data.checkpoint` is the folder to resume from, with `TrainingFailed`, or with the abort signal's
   * reason.
   */
  result(): Promise<TrainResult> {
    this.#open();
    return this.#request.result;
  }

  /**
   * Cancel the training, wait until it has ended its step and saved a checkpoint, and give the
   * checkpoint's folder: null if the training had not begun, or had ended before.
   */
  async cancel(): Promise<string | null> {
    await this.#request.stop();
    return this.checkpoint;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cancel();
  }

  #open(): void {
    if (this.#request.untouched) {
      this.#request.open();
    }
  }
}
