/**
 * A request whose replies are taken one by one: a buffer, and credit for more as the consumer
 * takes. A worker with windows sends only as many messages as it has credit for. Any other worker
 * sends everything at once: if the consumer is too slow, the buffer overflows and this stream
 * fails.
 */

import { ProtocolViolation } from "../errors.js";
import type { StreamOptions } from "../options.js";
import type { Done } from "../results.js";
import { COMMANDS, type CommandName } from "../wire/commands.js";
import type { JsonObject } from "../wire/json.js";
import { readDone } from "../wire/readReplies.js";
import { Deferred } from "./callbacks.js";
import { cancelledElsewhere, tooSlow } from "./failures.js";
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
  #left = false;

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

  /** Take the next message; the first call sends the request. */
  take(): Promise<Taken<T>> {
    if (this.untouched) {
      this.open();
    }
    if (this.#buffer.length > 0) {
      const value = this.#buffer.shift();
      this.#tookOne(value);
      return Promise.resolve({ done: false, value });
    }
    if (this.over) {
      const { failure } = this;
      const end: Taken<T> = { done: true, value: undefined };
      return failure === null ? Promise.resolve(end) : Promise.reject(failure.reason);
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
    this.#grant(this.window.take(others.length));
    return { done: false, value: [first.value, ...others] };
  }

  /** Leave the stream: drop the buffered messages and cancel the rest in the worker. */
  leave(): void {
    this.#left = true;
    this.#buffer.takeAll();
    this.abandon();
  }

  /**
   * Check, once all is taken, that nothing is missing. @throws MlxwireError if another call
   * cancelled it.
   */
  checkWhole(): void {
    if (this.#final?.finishReason === "cancelled" && !this.#left) {
      const failure = cancelledElsewhere(this.command, this.sender?.failure ?? null);
      failure.tokensDelivered = this.tokensDelivered;
      throw failure;
    }
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
    const { final } = COMMANDS[this.command];
    if (message.type !== final) {
      throw new ProtocolViolation(
        `\`${this.command}\` ended with \`${String(message.type)}\` where \`${final}\` was due`,
      );
    }
    this.#final = readDone(message);
    this.#onDone?.(this.#final);
  }

  protected override onSettled(): void {
    const { failure } = this;
    if (failure === null) {
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
    for (const waiter of this.#waiters) {
      if (failure === null) {
        waiter.resolve({ done: true, value: undefined });
      } else {
        waiter.reject(failure.reason);
      }
    }
  }

  protected override onAborted(failure: Failure): void {
    this.#buffer.takeAll();
    super.onAborted(failure);
  }

  /** Fail at the deadline, also with messages still in the buffer. */
  protected override expire(): void {
    this.#buffer.takeAll();
    super.expire();
  }

  protected override progressMark(): number | null {
    const mark = super.progressMark() ?? 0;
    return this.#buffer.length > 0 ? null : mark + this.window.taken;
  }

  #tookOne(message: T): void {
    this.onTaken(message);
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
