/**
 * One request from its line to its final: its deadline, its cancel, its end. Leaving a request never
 * waits for the worker: it is cancelled there and drained, for which the worker has a limited time.
 */

import { MlxwireError } from "../errors.js";
import type { Progress, Token } from "../results.js";
import type { CommandName } from "../wire/commands.js";
import type { JsonObject } from "../wire/json.js";
import { errorFromBody, readProgress } from "../wire/readReplies.js";
import { callGuarded, onAbort } from "./callbacks.js";
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

/** How a request behaves, besides what it asks. */
export interface PendingOptions {
  /** For all of it. */
  readonly timeoutMs?: number | undefined;
  /** For the time without a message of it. */
  readonly idleTimeoutMs?: number | undefined;
  /** Cancels it; its reason is what the caller gets. */
  readonly signal?: AbortSignal | undefined;
  /** Hears how far it has come. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

let requests = 0;

/** Why a request failed: an error of ours, or whatever reason an `AbortSignal` gave. */
export interface Failure {
  /** What its caller is given. */
  readonly reason: unknown;
}

/** A request whose final may still be due. Subclasses say what becomes of its replies. */
export abstract class PendingRequest {
  /** Its id, which no other request of this process has. */
  readonly id: string;
  protected sender: Sender | null = null; // once it was sent
  #state: State = "new";
  #failure: Failure | null = null;
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
    /** What it asks, as on the wire. */
    public fields: JsonObject,
    protected readonly options: PendingOptions = {},
  ) {
    requests += 1;
    this.id = `r${requests}`;
  }

  /** Whether its caller has nothing left to wait for. */
  get over(): boolean {
    return this.#state === "ended" || this.#failure !== null;
  }

  /** Whether it has not even been begun. */
  get untouched(): boolean {
    return this.#state === "new";
  }

  /** Whether it was sent and somebody waits for what the worker makes of it. */
  get running(): boolean {
    return this.#state === "running";
  }

  /** How many tokens its caller was given. */
  get tokensDelivered(): number {
    return 0;
  }

  /** Why it failed, with the tokens that were given before; null where it has not. */
  get failure(): Failure | null {
    if (this.#failure?.reason instanceof MlxwireError) {
      this.#failure.reason.tokensDelivered = this.tokensDelivered;
    }
    return this.#failure;
  }

  /** Find its connection and send it, unless it is abandoned meanwhile. Never throws. */
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

  /** Send it on a connection. @throws MlxwireError where it can't be sent. */
  start(sender: Sender): void {
    sender.send(this);
    this.sender = sender;
    this.#move("start");
    const { idleTimeoutMs } = this.options;
    if (idleTimeoutMs !== undefined) {
      const fellSilent = (): void => this.abandon({ reason: silent(this.command, idleTimeoutMs) });
      this.#idleWatch = new IdleWatch(idleTimeoutMs, () => this.progressMark(), fellSilent);
    }
  }

  /** A token has come. Only streams have a use for it. */
  takeToken(_token: Token): void {}

  /** An item has come. Only `classify` and `batch` have a use for it. */
  takeItem(_message: JsonObject): void {}

  /** Any other reply has come; with `ended` it is the final. */
  takeReply(message: JsonObject, ended: boolean): void {
    this.#heard += 1;
    if (ended) {
      this.#takeFinal(message);
    } else if (!this.running) {
      return;
    } else if (message.type === "item") {
      this.takeItem(message);
    } else if (message.type === "progress" && this.options.onProgress) {
      callGuarded(this.options.onProgress, readProgress(message));
    }
  }

  /** It ends without a final, as when the worker has died. */
  fail(reason: unknown): void {
    if (this.#state !== "ended") {
      this.#end({ reason });
    }
  }

  /** Nobody wants the rest: cancel it in the worker and drain. Returns at once. */
  abandon(failure: Failure | null = null): void {
    if (this.#state === "draining" || this.#state === "ended") {
      return;
    }
    this.#stopWatching();
    this.#move("abandon");
    this.#failure = failure;
    if (this.sender !== null) {
      this.#timer = setTimeout(() => this.#drainExpires(), this.route.limits.drainTimeoutMs);
      this.sender.sendCancel(this.id);
    } else {
      this.#drained();
    }
    this.#tellOver();
  }

  /** Wait until the worker has ended it, or its time to do so has passed. */
  whenDrained(): Promise<void> {
    if (this.#state !== "draining" || this.#drainExpired) {
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /** It is over for its caller; called once. */
  protected abstract onOver(): void;

  /** Nothing more will come of it; told twice where the worker ended it after all, too late. */
  protected onSettled(): void {}

  /** What its final says, before it is over. @throws MlxwireError where it is not as it should be. */
  protected abstract onFinal(message: JsonObject): void;

  /** Something that changes with each message; null while its consumer has some to take. */
  protected progressMark(): number | null {
    return this.#heard;
  }

  /** Its time has passed. */
  protected expire(): void {
    this.abandon({ reason: tooLate(this.command, this.options.timeoutMs ?? 0) });
  }

  /** Grant the worker more messages. */
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

  /** Whether it was aborted before it began. */
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

  /** Its caller's signal aborted. */
  protected onAborted(failure: Failure): void {
    this.abandon(failure);
  }

  #takeFinal(message: JsonObject): void {
    let failure: Failure | null = null;
    try {
      if (message.type === "error") {
        throw errorFromBody(message.error);
      }
      this.onFinal(message);
    } catch (reason) {
      failure = { reason };
    }
    this.#end(failure);
  }

  #end(failure: Failure | null): void {
    this.#stopWatching();
    this.#move("end");
    this.#failure ??= failure;
    this.#drained();
    this.#tellOver();
  }

  #drainExpires(): void {
    this.#drainExpired = true;
    this.#failure ??= { reason: notDrained(this.command, this.route.limits.drainTimeoutMs) };
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
    this.#forgetSignal?.();
  }

  #move(move: Move): void {
    const following = TRANSITIONS[this.#state][move];
    if (following === undefined) {
      throw new Error(`a request that is ${this.#state} can't ${move}`);
    }
    this.#state = following;
  }
}
