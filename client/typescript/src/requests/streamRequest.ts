/**
 * A request whose replies are taken one by one: a buffer, and credit for more as the consumer
 * takes. A worker with windows sends only as many messages as it has credit for. Any other worker
 * sends everything at once: if the consumer is too slow, the buffer overflows and this stream
 * fails.
 *
 * A pass is the consumer's one iteration over the messages. It ends without an error only after a
 * complete final, or by its own `leave`. Buffered messages come before the error that ended the
 * request. An abort signal and the stream's own `cancel` drop them, even after the final has come;
 * then `#cut` is the error of the pass.
 */

import type { StreamOptions } from "../options.js";
import type { Done } from "../results.js";
import type { CommandName } from "../wire/commands.js";
import type { JsonObject } from "../wire/json.js";
import { readDone } from "../wire/readReplies.js";
import { Deferred } from "./callbacks.js";
import { cancelledByStream, cancelledElsewhere, checkFinal, tooSlow } from "./failures.js";
import { type Failure, PendingRequest } from "./pending.js";
import { Queue } from "./queue.js";
import type { Route, Sender } from "./route.js";
import { Window } from "./window.js";

/** The end of a stream that was left before its request was sent. */
const NEVER_SENT: Done = readDone({
  finish_reason: "cancelled",
  stage: "queued",
  tokens_generated: 0,
  metrics: {},
});

type Taken<T> = IteratorResult<T, undefined>;

interface Waiter<T> {
  readonly resolve: (taken: Taken<T>) => void;
  readonly reject: (reason: unknown) => void;
}

/** A request whose replies are taken one by one. */
export abstract class StreamRequest<T> extends PendingRequest {
  protected window = new Window(null);
  readonly #done = new Deferred<Done>();
  #final: Done | null = null;
  readonly #buffer = new Queue<T>();
  readonly #waiters: Waiter<T>[] = [];
  readonly #onDone: ((done: Done) => void) | undefined;
  #weighPast = 0;
  /** The error of a pass that was cut by the consumer's own signal or cancel. */
  #cut: Failure | null = null;
  /** True once the consumer has left the pass by itself. */
  #left = false;
  /** True once the pass has ended: the consumer has left, or was told the end. */
  #passed = false;
  #begun = false;

  constructor(
    route: Route,
    command: CommandName,
    fields: JsonObject,
    options: StreamOptions,
    onDone?: (done: Done) => void,
  ) {
    const { requestTimeoutMs, idleTimeoutMs } = route.limits;
    super(route, command, fields, {
      signal: options.signal,
      onProgress: options.onProgress,
      timeoutMs: options.timeoutMs ?? requestTimeoutMs,
      idleTimeoutMs: options.idleTimeoutMs ?? idleTimeoutMs,
    });
    this.#onDone = onDone;
    this.#done.promise.catch(ignore); // the consumer's `take` rejects with it too
  }

  /** Settled with the end of the stream, or rejected with the error that ended it. */
  get done(): Promise<Done> {
    return this.#done.promise;
  }

  override start(sender: Sender): void {
    if (sender.window !== null) {
      this.fields = { ...this.fields, window: sender.window };
      this.window = new Window(sender.window);
      this.#weighPast = sender.window;
    }
    super.start(sender);
  }

  /** True once a message was asked for. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Refuse a second pass over the messages. @throws Error after a pass has ended. */
  refuseSecondPass(): void {
    if (this.#passed) {
      throw new Error(
        "this stream was iterated already, and gives its messages once; keep them while you iterate, " +
          "or send the request again",
      );
    }
  }

  /** Take the next message; the first call sends the request. */
  take(): Promise<Taken<T>> {
    this.#begun = true;
    if (this.untouched) {
      this.open();
    }
    if (this.#buffer.length > 0) {
      const value = this.#buffer.shift();
      this.#tookOne(value);
      return Promise.resolve({ done: false, value });
    }
    if (this.over || this.#left || this.#cut !== null) {
      return this.#end();
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Take all messages at hand, at least one. */
  async takeSome(): Promise<IteratorResult<T[], undefined>> {
    const first = await this.take();
    if (first.done) {
      return first;
    }
    const others = this.#buffer.takeAll();
    others.forEach(this.onTaken, this);
    this.#deliveredAll();
    this.#grant(this.window.take(others.length));
    return { done: false, value: [first.value, ...others] };
  }

  /** Leave the pass: drop the buffered messages and cancel the rest in the worker. */
  leave(): void {
    this.#left = true;
    this.#passed = true;
    this.#drop();
    this.abandon();
  }

  /** Cancel the rest in the worker; a pass that has not ended ends with `RequestCancelled`. */
  cancel(): void {
    this.#cutPass({ reason: cancelledByStream(this.command) });
    this.abandon();
  }

  /** Hand a message to the consumer that waits, or buffer it. */
  protected push(message: T): void {
    if (!this.running) {
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      this.#tookOne(message);
      waiter.resolve({ done: false, value: message });
      return;
    }
    this.#buffer.push(message);
    if (this.#buffer.length > this.#weighPast) {
      this.#weigh();
    }
  }

  /** Record that the consumer has taken a message. */
  protected onTaken(_message: T): void {}

  /** Estimate the bytes that a message takes in the buffer. */
  protected abstract cost(message: T): number;

  protected override onFinal(message: JsonObject): void {
    checkFinal(this.command, message.type);
    this.#final = readDone(message);
    this.#onDone?.(this.#final);
    if (this.#final.finishReason === "cancelled" && this.running) {
      throw cancelledElsewhere(this.command, this.sender?.cut ?? null);
    }
  }

  protected override onSettled(): void {
    const { failure } = this;
    if (failure === null || this.#final !== null) {
      this.#done.resolve(this.#final ?? NEVER_SENT);
    } else {
      this.#done.reject(failure.reason);
    }
  }

  protected override onOver(): void {
    const { failure } = this;
    if (failure !== null) {
      this.#done.reject(failure.reason);
    }
    for (const { resolve, reject } of this.#waiters.splice(0)) {
      this.#end().then(resolve, reject);
    }
  }

  protected override get undelivered(): boolean {
    return this.#buffer.length > 0;
  }

  protected override onAborted(failure: Failure): void {
    this.#cutPass(failure);
    super.onAborted(failure);
  }

  /** Fail at the deadline, also with messages still in the buffer. */
  protected override expire(): void {
    this.#drop();
    super.expire();
  }

  protected override progressMark(): number | null {
    const mark = super.progressMark() ?? 0;
    return this.#buffer.length > 0 ? null : mark + this.window.taken;
  }

  /** End the pass: with the error that cut it, or that of the request, or without one. */
  #end(): Promise<Taken<T>> {
    const failure = this.#cut ?? (this.#left ? null : this.failure);
    this.#passed = true;
    return failure === null
      ? Promise.resolve({ done: true, value: undefined })
      : Promise.reject(this.counted(failure).reason);
  }

  /** Drop the buffered messages, and end a pass that has not ended with this error. */
  #cutPass(failure: Failure): void {
    if (!this.#left && (!this.over || this.undelivered)) {
      this.#cut ??= this.shown(failure);
    }
    this.#drop();
  }

  #drop(): void {
    this.#buffer.takeAll();
    this.#deliveredAll();
  }

  /** Let go of the signal of an ended request when its buffer is empty. */
  #deliveredAll(): void {
    if (this.over && !this.undelivered) {
      this.forgetSignal();
    }
  }

  #tookOne(message: T): void {
    this.onTaken(message);
    this.#deliveredAll();
    this.#grant(this.window.take(1));
  }

  #grant(count: number): void {
    if (count > 0) {
      this.credit(count);
    }
  }

  /**
   * Hold the buffer to its limit. The next check is due halfway to the length at which the buffer
   * may be full, so that no message has to be weighed as it comes.
   */
  #weigh(): void {
    const limit = this.route.limits.bufferBytes;
    const messages = this.#buffer.takeAll();
    let weight = 0;
    for (const message of messages) {
      weight += this.cost(message);
      this.#buffer.push(message);
    }
    const count = messages.length;
    this.#weighPast = count + ((limit - weight) * count) / (2 * weight);
    if (weight > limit) {
      this.abandon({ reason: tooSlow(count, limit) });
    }
  }
}

function ignore(): void {}
