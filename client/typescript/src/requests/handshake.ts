/** The request `hello`: the first of a connection, with a limit of its own. */

import { HandshakeFailed, MlxwireError } from "../errors.js";
import { type Hello, readHello } from "../results.js";
import type { JsonObject } from "../wire/json.js";
import { Deferred } from "./deferred.js";
import { PendingRequest } from "./pending.js";
import type { Route } from "./route.js";

/** Settles once, with what the worker said or why it said nothing. */
export class Handshake extends PendingRequest {
  readonly #result = new Deferred<Hello>();
  #hello: Hello | null = null;
  readonly #timer: NodeJS.Timeout;

  constructor(route: Route, timeoutMs: number, tooLate: () => HandshakeFailed) {
    super(route, "hello", {});
    this.#timer = setTimeout(() => this.fail(tooLate()), timeoutMs);
  }

  /** What the worker said. */
  get result(): Promise<Hello> {
    return this.#result.promise;
  }

  protected override onFinal(message: JsonObject): void {
    try {
      this.#hello = readHello(message);
    } catch (error) {
      throw error instanceof MlxwireError ? new HandshakeFailed(error.message) : error;
    }
  }

  protected override onOver(): void {
    clearTimeout(this.#timer);
    if (this.#hello === null) {
      this.#result.reject(this.failure?.reason);
    } else {
      this.#result.resolve(this.#hello);
    }
  }
}
