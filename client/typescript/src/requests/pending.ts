/**
 * One request from its line to its final: its deadlines, its cancel, its end.
 *
 * Theory of operation
 *
 * Callers. The caller's side calls `open`, `abandon`, `fail` and `whenDrained`; the connection
 * calls `takeToken`, `takeReply` and `fail`; timers and the abort signal call `expire` and
 * `onAborted`. All of it runs on the host's event loop, so no call interrupts another.
 *
 * Invariants. `#state` moves by `TRANSITIONS` alone. `onOver` is called once: the caller has
 * nothing left to wait for then. The first failure stays. Leaving a request never waits for the
 * worker: the request is cancelled there and drains, for which the worker has `drainTimeoutMs`.
 *
 * Order of events. new, connecting (the route looks for a connection), running (the line is
 * written), then ended by a final or a failure; or draining (left or timed out, its final still
 * due) and then ended. A request that is abandoned before it was sent ends at once and is never
 * sent.
 *
 * Hazards. A final that breaks the wire's rules ends no request: the connection fails them all. A
 * route may find its connection after the request was abandoned (`#begin` looks at the
 * state). A final may come after the drain has expired: `onSettled` is told twice then. Replies
 * that come while the request drains are dropped.
 */

import { MlxwireError } from "../errors.js";
import type { Progress, Token } from "../results.js";
import type { CommandName } from "../wire/commands.js";
import type { JsonObject } from "../wire/json.js";
import { readError, readProgress } from "../wire/readReplies.js";
import { Offence } from "../wire/requestState.js";
import { callGuarded, onAbort } from "./callbacks.js";
import { type Callers, captureCallers, showCallers } from "./callers.js";
import { notDrained, silent, tooLate } from "./failures.js";
import { IdleWatch } from "./idleWatch.js";
import type { Route, Sender } from "./route.js";

type State = "new" | "connecting" | "running" | "draining" | "ended";
type Move = "connect" | "start" | "abandon" | "end";

const TRANSITIONS: Readonly<Record<State, Partial<Record<Move, State>>>> = {
  new: { connect: "connecting", start: "running", abandon: "ended", end: "ended" },
  connecting: { start: "running", abandon: "ended", end: "ended" },
  running: { abandon: "draining", end: "ended" },
  draining: { end: "ended" },
  ended: {},
};

/** Limits and callbacks of a request. */
export interface PendingOptions {
  /** Milliseconds for the whole request. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds without a message while the consumer waits. */
  readonly idleTimeoutMs?: number | undefined;
  /** Cancels the request; the caller gets the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the progress of the request. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

let requests = 0;

/** Why a request failed: an `MlxwireError`, or the reason of an `AbortSignal`. */
export interface Failure {
  /** The reason that the caller gets. */
  readonly reason: unknown;
}

/** A request whose final may still be due. Subclasses take its replies. */
export abstract class PendingRequest {
  /** The id, which no other request of this host process has. */
  readonly id: string;
  protected sender: Sender | null = null; // null until the request is sent
  #state: State = "new";
  #failure: Failure | null = null;
  readonly #callers: Callers;
  #drainExpired = false;
  #heard = 0;
  #timer: NodeJS.Timeout | undefined;
  #idleWatch: IdleWatch | undefined;
  #forgetSignal: (() => void) | undefined;
  #drainWaiters: (() => void)[] = [];
  #told = false;

  constructor(
    protected readonly route: Route,
    readonly command: CommandName,
    /** The fields of the request, as on the wire. */
    public fields: JsonObject,
    protected readonly options: PendingOptions = {},
  ) {
    requests += 1;
    this.id = `r${requests}`;
    this.#callers = captureCallers(new.target);
  }

  /** True if the caller has nothing left to wait for. */
  get over(): boolean {
    return this.#state === "ended" || this.#failure !== null;
  }

  /** True before `open` and `start`. */
  get untouched(): boolean {
    return this.#state === "new";
  }

  /** True if the request was sent and its caller waits for replies. */
  get running(): boolean {
    return this.#state === "running";
  }

  /** The number of tokens that the caller was given. */
  get tokensDelivered(): number {
    return 0;
  }

  /** Why the request failed, with the count of tokens given before; null if it has not failed. */
  get failure(): Failure | null {
    return this.#failure && this.counted(this.#failure);
  }

  /** Find the connection and send the request, unless it is abandoned meanwhile. Never throws. */
  open(): void {
    this.#move("connect");
    if (this.#watchSignal()) {
      return;
    }
    const { timeoutMs } = this.options;
    if (timeoutMs !== undefined) {
      this.#timer = setTimeout(() => this.expire(), timeoutMs);
    }
    try {
      const sender = this.route.connect(this);
      if (sender instanceof Promise) {
        sender.then(
          (found) => this.#begin(found),
          (error) => this.fail(error),
        );
      } else {
        this.#begin(sender);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** Send the request on a connection. @throws MlxwireError if it can't be sent. */
  start(sender: Sender): void {
    sender.send(this);
    this.sender = sender;
    this.#move("start");
    const { idleTimeoutMs } = this.options;
    if (idleTimeoutMs !== undefined && idleTimeoutMs > 0) {
      const fellSilent = (): void => this.abandon({ reason: silent(this.command, idleTimeoutMs) });
      this.#idleWatch = new IdleWatch(idleTimeoutMs, () => this.progressMark(), fellSilent);
    }
  }

  /** Handle a token. Streams override this; other requests ignore it. */
  takeToken(_token: Token): void {}

  /** Handle an item. Only `classify` and `batch` override this. */
  takeItem(_message: JsonObject): void {}

  /** Handle a reply other than a token; `ended` is true for the final reply. */
  takeReply(message: JsonObject, ended: boolean): void {
    this.#heard += 1;
    if (ended) {
      this.#takeFinal(message);
    } else if (message.type === "progress") {
      const progress = readProgress(message);
      if (this.running) {
        callGuarded(this.options.onProgress, progress);
      }
    } else if (message.type === "item" && this.running) {
      this.takeItem(message);
    }
  }

  /** End the request without a final reply, for example because the worker has died. */
  fail(reason: unknown): void {
    if (this.#state !== "ended") {
      this.#end({ reason });
    }
  }

  /** Cancel the request in the worker, and drop its replies until the final one. Returns at once. */
  abandon(failure: Failure | null = null): void {
    if (this.#state === "draining" || this.#state === "ended") {
      return;
    }
    this.#stopWatching();
    this.#move("abandon");
    this.#failure = failure && this.shown(failure);
    if (!this.undelivered) {
      this.forgetSignal();
    }
    if (this.sender !== null) {
      this.#timer = setTimeout(() => this.#drainExpires(), this.drainTimeoutMs);
      this.sender.sendCancel(this.id);
    } else {
      this.#drained();
    }
    this.#tellOver();
  }

  /** Wait until the worker has ended an abandoned request, or `drainTimeoutMs` has passed. */
  whenDrained(): Promise<void> {
    if (this.#state !== "draining" || this.#drainExpired) {
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /** Tell the caller that the request is over; called once. */
  protected abstract onOver(): void;

  /**
   * Record that no further reply is expected. Called twice if the worker ends the request after
   * `drainTimeoutMs` has passed.
   */
  protected onSettled(): void {}

  /**
   * Take the final, before the request is over. @throws Offence if this command has no such final,
   * MlxwireError if the request failed by it.
   */
  protected abstract onFinal(message: JsonObject): void;

  /** Milliseconds that the worker has to end the request after its cancel. */
  protected get drainTimeoutMs(): number {
    return this.route.limits.drainTimeoutMs;
  }

  /** True if messages wait for the consumer, whom the signal may abort also after the end. */
  protected get undelivered(): boolean {
    return false;
  }

  /** Show the request's callers in an error of this client; the reason of a signal is its owner's. */
  protected shown(failure: Failure): Failure {
    if (this.#isOwn(failure.reason)) {
      showCallers(failure.reason, this.#callers);
    }
    return failure;
  }

  /** Tell an error of this client how many tokens the caller was given. */
  protected counted(failure: Failure): Failure {
    if (this.#isOwn(failure.reason)) {
      failure.reason.tokensDelivered = this.tokensDelivered;
    }
    return failure;
  }

  /** Listen to the abort signal no longer. */
  protected forgetSignal(): void {
    this.#forgetSignal?.();
  }

  /** Return a number that changes with each message; null while messages wait for the consumer. */
  protected progressMark(): number | null {
    return this.#heard;
  }

  /** End the request because its `timeoutMs` has passed. */
  protected expire(): void {
    this.abandon({ reason: tooLate(this.command, this.options.timeoutMs ?? 0) });
  }

  /** Grant the worker `count` more messages. */
  protected credit(count: number): void {
    if (this.running && this.sender !== null) {
      this.sender.sendCredit(this.id, count);
    }
  }

  #begin(sender: Sender): void {
    if (this.#state !== "connecting") {
      return;
    }
    try {
      this.start(sender);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Listen to the abort signal. Returns true if it has already aborted. */
  #watchSignal(): boolean {
    const { signal } = this.options;
    if (signal === undefined) {
      return false;
    }
    const aborted = (): void => this.onAborted({ reason: signal.reason });
    if (signal.aborted) {
      aborted();
      return true;
    }
    this.#forgetSignal = onAbort(signal, aborted);
    return false;
  }

  /** End the request because its signal aborted. */
  protected onAborted(failure: Failure): void {
    this.abandon(failure);
  }

  #isOwn(reason: unknown): reason is MlxwireError {
    const { signal } = this.options;
    return reason instanceof MlxwireError && !(signal?.aborted && reason === signal.reason);
  }

  /** Take the final. @throws Offence if the command has no such final; the request then goes on. */
  #takeFinal(message: JsonObject): void {
    let failure: Failure | null = null;
    try {
      if (message.type === "error") {
        throw readError(message);
      }
      this.onFinal(message);
    } catch (reason) {
      if (reason instanceof Offence) {
        throw reason;
      }
      failure = { reason };
    }
    this.#end(failure);
  }

  #end(failure: Failure | null): void {
    this.#stopWatching();
    this.#move("end");
    this.#failure ??= failure && this.shown(failure);
    if (!this.undelivered) {
      this.forgetSignal();
    }
    this.#drained();
    this.#tellOver();
  }

  #drainExpires(): void {
    this.#drainExpired = true;
    this.#failure ??= this.shown({
      reason: notDrained(this.command, this.drainTimeoutMs),
    });
    this.#drained();
  }

  #drained(): void {
    this.onSettled();
    for (const resolve of this.#drainWaiters) {
      resolve();
    }
  }

  #tellOver(): void {
    if (!this.#told) {
      this.#told = true;
      this.onOver();
    }
  }

  #stopWatching(): void {
    clearTimeout(this.#timer);
    this.#idleWatch?.close();
  }

  #move(move: Move): void {
    const following = TRANSITIONS[this.#state][move];
    if (following === undefined) {
      throw new Error(`a request that is ${this.#state} can't ${move}`);
    }
    this.#state = following;
  }
}
