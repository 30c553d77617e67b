/**
 * Routes: a route finds the connection for a request when the request is sent. Without `restart` it
 * is always the same connection; with `restart` its process may have to be started first.
 */

import { type MlxwireError, ModelNotLoaded } from "../errors.js";
import type { LoadResult } from "../results.js";
import type { PendingRequest } from "./pending.js";

/** The default of `bufferBytes`. */
export const DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024;
/** The default of `window`. */
export const DEFAULT_WINDOW = 256;

/** Limits of requests that have no limits of their own. */
export interface RequestLimits {
  /** Milliseconds for a whole request; undefined is no limit. */
  readonly requestTimeoutMs: number | undefined;
  /** Milliseconds without a message while the consumer waits; undefined is no limit. */
  readonly idleTimeoutMs: number | undefined;
  /** Milliseconds that a worker has to end a cancelled request. */
  readonly drainTimeoutMs: number;
  /** The most messages of a stream on their way to its consumer. */
  readonly window: number;
  /** Bytes that a stream may buffer if the worker knows no windows. */
  readonly bufferBytes: number;
}

/** The message of errors after a later load has replaced the model. */
export const REPLACED = "this model was replaced by a later load; use the model of that load";
/** The message of errors after the model was closed. */
export const CLOSED = "this model was closed; load it again";

/** A connection, as its requests use it. */
export interface Sender {
  /** The most messages of a stream on their way; null if the worker knows no windows. */
  readonly window: number | null;
  /** The error of requests that the worker's end cuts; null unless the host ends it. */
  readonly cut: MlxwireError | null;
  /** Write a request and expect its replies. @throws MlxwireError */
  send(request: PendingRequest): void;
  /** Cancel a request in the worker, without waiting; its final reply follows. */
  sendCancel(requestId: string): void;
  /** Allow the worker `count` more messages of a request, without waiting. */
  sendCredit(requestId: string, count: number): void;
}

/** Finds the connection for a request. */
export interface Route {
  /** Limits of the requests on this route. */
  readonly limits: RequestLimits;
  /** Find a connection that can send at once. @throws MlxwireError if there is none. */
  connect(request: PendingRequest): Sender | Promise<Sender>;
}

/** The route to one loaded model, until the model is closed or replaced. */
export class ModelRoute implements Route {
  /** The answer to the last `load` of the model. */
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

  /** True until the model is closed or replaced. */
  get open(): boolean {
    return this.#gone === null;
  }

  /** Make every further request fail with `ModelNotLoaded` and this message. */
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
