/**
 * The connection's side of a stream: a buffer, and credit for more as its consumer takes. A worker
 * that knows `window` sends no further; from another all comes at once, and a consumer that lets the
 * buffer overflow loses its stream, and no other does.
 */

import { callGuarded } from "./callbacks.js";
import { type MlxwireError, ProtocolViolation, SlowConsumer } from "./errors.js";
import type { JsonObject } from "./json.js";
import { type Failure, PendingRequest } from "./pending.js";
import { Queue } from "./queue.js";
import { type Done, readDone, type Token } from "./results.js";
import type { Route, Sender } from "./route.js";
import type { StreamOptions } from "./streamOptions.js";
import { Window } from "./window.js";

/** What a buffered message costs besides its text. */
const MESSAGE_OVERHEAD_BYTES = 160;

type Taken<T> = IteratorResult<T, undefined>;

interface Waiter<T> {
  readonly resolve: (taken: Taken<T>) => void;
  readonly reject: (reason: unknown) => void;
}

/** A request whose replies are taken one by one. */
export abstract class StreamRequest<T> extends PendingRequest {
  /** How it ended; null while it has not, or has failed. */
  done: Done | null = null;
  protected window = new Window(null);
  readonly #buffer = new Queue<T>();
  readonly #waiters: Waiter<T>[] = [];
  readonly #onDone: ((done: Done) => void) | undefined;
  #weighPast = 0;

  constructor(
    route: Route,
    command: string,
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
  }

  override start(sender: Sender): void {
    if (sender.window !== null) {
      this.fields = { ...this.fields, window: sender.window };
      this.window = new Window(sender.window);
      this.#weighPast = sender.window;
    }
    super.start(sender);
  }

  /** The next message; sends the request where that has not been done. */
  take(): Promise<Taken<T>> {
    if (this.untouched) {
      this.open();
    }
    if (this.#buffer.length > 0) {
      const value = this.#buffer.shift();
      this.#tookOne();
      return Promise.resolve({ done: false, value });
    }
    if (this.over) {
      const { failure } = this;
      const end: Taken<T> = { done: true, value: undefined };
      return failure === null ? Promise.resolve(end) : Promise.reject(failure.reason);
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** All that is here already. */
  takeBuffered(): T[] {
    const messages = this.#buffer.takeAll();
    this.#grant(this.window.take(messages.length));
    return messages;
  }

  /** Leave it: what is here is dropped, what is to come is cancelled. */
  leave(): void {
    this.#buffer.takeAll();
    this.abandon();
  }

  /** Something to be taken has come. */
  protected push(message: T): void {
    if (!this.running) {
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      this.#tookOne();
      waiter.resolve({ done: false, value: message });
      return;
    }
    this.#buffer.push(message);
    if (this.#buffer.length > this.#weighPast) {
      this.#weigh();
    }
  }

  /** A message that is not to be taken counts as taken at once. */
  protected pass(): void {
    this.#tookOne();
  }

  /** The bytes, roughly, that a message takes in the buffer. */
  protected abstract cost(message: T): number;

  protected override onFinal(message: JsonObject): void {
    if (message["type"] !== "done") {
      throw new ProtocolViolation(
        `\`${this.command}\` ended with \`${String(message["type"])}\` where \`done\` was due`,
      );
    }
    this.done = readDone(message);
    this.#onDone?.(this.done);
  }

  protected override onOver(): void {
    const { failure } = this;
    for (const waiter of this.#waiters.splice(0)) {
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

  /** A deadline is kept, also with messages still to be taken. */
  protected override expire(): void {
    this.#buffer.takeAll();
    super.expire();
  }

  protected override progressMark(): number | null {
    const mark = super.progressMark() ?? 0;
    return this.#buffer.length > 0 ? null : mark + this.window.taken;
  }

  #tookOne(): void {
    const due = this.window.take(1);
    if (due > 0) {
      this.#grant(due);
    }
  }

  #grant(count: number): void {
    if (count > 0) {
      this.credit(count);
    }
  }

  /**
   * Hold the buffer to its limit: now, and again halfway to where it may be full, so that nothing
   * has to be counted for each message.
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
      this.abandon({ reason: slow(count, limit) });
    }
  }
}

function slow(count: number, limit: number): MlxwireError {
  return new SlowConsumer(
    `${count} messages waited to be taken, more than the ${limit} bytes that a stream may hold; the ` +
      "request was cancelled. Take them faster, or give the worker more bufferBytes",
  );
}

/** `generate` and `chat`: each token is to be taken. */
export class TokenRequest extends StreamRequest<Token> {
  override get tokensDelivered(): number {
    return this.window.taken;
  }

  override takeToken(token: Token): void {
    this.push(token);
  }

  protected override cost(token: Token): number {
    const likely = token.topLogprobs?.length ?? 0;
    return token.text.length + MESSAGE_OVERHEAD_BYTES * (1 + likely);
  }
}

/** `classify` and `batch`: each item is to be taken; tokens go to a callback at once. */
export class ItemRequest<T> extends StreamRequest<T> {
  #tokensTold = 0;

  constructor(
    route: Route,
    command: string,
    fields: JsonObject,
    options: StreamOptions,
    private readonly read: (message: JsonObject) => T,
    onDone: (done: Done) => void,
    private readonly onToken?: ((token: Token) => void) | undefined,
  ) {
    super(route, command, fields, options, onDone);
  }

  override get tokensDelivered(): number {
    return this.#tokensTold;
  }

  override takeItem(message: JsonObject): void {
    const { tokens_generated: tokens } = message;
    if (this.onToken === undefined && typeof tokens === "number") {
      this.#tokensTold += tokens;
    }
    this.push(this.read(message));
  }

  override takeToken(token: Token): void {
    if (this.running) {
      callGuarded(this.onToken, token);
      this.#tokensTold += 1;
      this.pass();
    }
  }

  protected override cost(item: T): number {
    let bytes = MESSAGE_OVERHEAD_BYTES;
    for (const part of Object.values(item as object)) {
      bytes += 32 * (Array.isArray(part) || typeof part === "string" ? part.length : 1);
    }
    return bytes;
  }
}
