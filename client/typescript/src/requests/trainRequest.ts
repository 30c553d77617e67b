/**
 * The request `train`: the reports of its steps, its result, and the checkpoint that it leaves. The
 * worker's limits of requests do not hold for it, since a training takes as long as it takes.
 */

import type { TrainProgress, TrainResult } from "../results.js";
import type { JsonObject } from "../wire/json.js";
import { readDone, readTrainProgress, readTrainResult } from "../wire/readReplies.js";
import { Deferred } from "./callbacks.js";
import { cancelledByStream, checkFinal, trainingCancelled } from "./failures.js";
import { type Failure, type PendingOptions, PendingRequest } from "./pending.js";
import { Queue } from "./queue.js";
import type { Route } from "./route.js";

/** The most reports that wait; the oldest are dropped, since each counts from the start. */
export const MOST_REPORTS = 10_000;
/** The least time that a cancelled training has to end its step and to save a checkpoint. */
const SAVING_MS = 120_000;

/** A `train` whose final may still be due. */
export class TrainRequest extends PendingRequest {
  /** The checkpoint that the final named; null without one. */
  checkpoint: string | null = null;
  readonly #reports = new Queue<TrainProgress>();
  readonly #result = new Deferred<TrainResult>();
  #value: TrainResult | null = null;
  #stopped = false;
  #waiters: (() => void)[] = [];

  constructor(route: Route, fields: JsonObject, options: PendingOptions) {
    super(route, "train", fields, options);
    this.#result.promise.catch(() => undefined); // `take` rejects with it too
  }

  /** Settled with the result, or rejected with the error that ended the training. */
  get result(): Promise<TrainResult> {
    return this.#result.promise;
  }

  /** Take the next report. Rejects with the error that ended the training. */
  async take(): Promise<IteratorResult<TrainProgress, undefined>> {
    for (;;) {
      if (this.#reports.length > 0) {
        return { done: false, value: this.#reports.shift() };
      }
      if (this.over) {
        await this.#result.promise;
        return { done: true, value: undefined };
      }
      await this.#change();
    }
  }

  /** Cancel the training in the worker, once, and wait for its end. */
  async stop(): Promise<void> {
    if (this.running && !this.#stopped) {
      this.#stopped = true;
      this.sender?.sendCancel(this.id);
    } else if (!this.running) {
      this.abandon({ reason: cancelledByStream(this.command) });
    }
    while (!this.over) {
      await this.#change();
    }
    await this.whenDrained();
  }

  override takeReply(message: JsonObject, ended: boolean): void {
    if (ended) {
      this.checkpoint = checkpointOf(message);
    } else if (message.type === "progress" && message.stage === "train" && this.running) {
      if (this.#reports.length === MOST_REPORTS) {
        this.#reports.shift();
      }
      this.#reports.push(readTrainProgress(message));
      this.#wake();
    }
    super.takeReply(message, ended);
  }

  protected override get drainTimeoutMs(): number {
    return Math.max(super.drainTimeoutMs, SAVING_MS);
  }

  protected override onAborted(failure: Failure): void {
    this.#reports.takeAll();
    super.onAborted(failure);
  }

  protected override onFinal(message: JsonObject): void {
    if (message.type === "done" && readDone(message).finishReason === "cancelled") {
      throw this.sender?.cut?.copy() ?? trainingCancelled(this.checkpoint, message.step);
    }
    checkFinal(this.command, message.type);
    this.#value = readTrainResult(message);
  }

  protected override onOver(): void {
    const { failure } = this;
    if (failure !== null) {
      this.#result.reject(failure.reason);
    } else if (this.#value !== null) {
      this.#result.resolve(this.#value);
    } else {
      this.#result.reject(cancelledByStream(this.command));
    }
    this.#wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) {
      resolve();
    }
  }
}

/** Find the checkpoint in a final: in that of a cancel, or in the data of an error. */
function checkpointOf(message: JsonObject): string | null {
  const { data } = (message.error ?? {}) as { data?: JsonObject };
  const { checkpoint } = data ?? message;
  return typeof checkpoint === "string" ? checkpoint : null;
}
