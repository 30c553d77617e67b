/**
 * Where a request goes: a route finds the connection that it is sent on, at the last moment. A
 * worker's model always goes the same way; behind a supervisor it may have to be started first.
 */

import { type MlxwireError, ModelNotLoaded } from "../errors.js";
import type { LoadResult } from "../results.js";
import type { PendingRequest } from "./pending.js";

/** How much a stream may hold where nothing else is said. */
export const DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024;
/** Messages of one stream on their way where nothing else is said. */
export const DEFAULT_WINDOW = 256;

/** What a request may take, unless it says otherwise itself. */
export interface RequestLimits {
  /** For all of a request; undefined: no limit. */
  readonly requestTimeoutMs: number | undefined;
  /** For the time without a message while its consumer waits; undefined: no limit. */
  readonly idleTimeoutMs: number | undefined;
  /** How long a worker has to end a request that was cancelled. */
  readonly drainTimeoutMs: number;
  /** How many messages of a stream may be on their way. */
  readonly window: number;
  /** What a stream may hold for a slow consumer where the worker knows no windows. */
  readonly bufferBytes: number;
}

/** Why a model is void that a later load replaced. */
export const REPLACED = "this model was replaced by a later load; use the model of that load";
/** Why a model is void that was closed. */
export const CLOSED = "this model was closed; load it again";

/** What a request needs of its connection once it has one. */
export interface Sender {
  /** How many messages of a stream may be on their way; null where the worker can't be told. */
  readonly window: number | null;
  /** Why nothing can be sent any more; null while it can. */
  readonly failure: MlxwireError | null;
  /** Write a request and expect its replies. @throws MlxwireError */
  send(request: PendingRequest): void;
  /** Cancel a request in the worker; its final follows. Waits for nothing. */
  sendCancel(requestId: string): void;
  /** Let that many more messages of a request come. Waits for nothing. */
  sendCredit(requestId: string, count: number): void;
}

/** Finds the connection for a request. */
export interface Route {
  /** What each request may take. */
  readonly limits: RequestLimits;
  /** A connection that can be sent on at once. @throws MlxwireError: why there is none. */
  connect(request: PendingRequest): Sender | Promise<Sender>;
}

/** The way to one loaded model, until that is closed or replaced. */
export class ModelRoute implements Route {
  /** What the last `load` said of it. */
  loaded: LoadResult;
  readonly #way: Route;
  #gone: string | null = null;

  constructor(way: Route, loaded: LoadResult) {
    this.#way = way;
    this.loaded = loaded;
  }

  get limits(): RequestLimits {
    return this.#way.limits;
  }

  /** Whether it still leads to the model. */
  get open(): boolean {
    return this.#gone === null;
  }

  /** From now on every request on it fails with an error that says why. */
  close(why: string): void {
    this.#gone ??= why;
  }

  connect(request: PendingRequest): Sender | Promise<Sender> {
    if (this.#gone !== null) {
      throw new ModelNotLoaded(this.#gone);
    }
    return this.#way.connect(request);
  }
}
