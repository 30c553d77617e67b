/**
 * Where a request goes: a route finds the connection that it is sent on, at the last moment. A
 * worker's model always goes the same way; behind a supervisor it may have to be started first.
 */

import { type MlxwireError, ModelNotLoaded } from "../errors.js";
import type { LoadResult } from "../results.js";
import type { PendingRequest } from "./pending.js";
import type { RequestLimits } from "./requestLimits.js";

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
