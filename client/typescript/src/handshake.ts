/** The request `hello`: the first of a connection, with a limit of its own. */

import { HandshakeFailed, MlxwireError } from "./errors.js";
import type { JsonObject } from "./json.js";
import { PendingRequest } from "./pending.js";
import { type Hello, readHello } from "./results.js";
import type { Route } from "./route.js";

/** Settles once, with what the worker said or why it said nothing. */
export class Handshake extends PendingRequest {
  /** What the worker said. */
  readonly result: Promise<Hello>;
  #hello: Hello | null = null;
  #settle: (() => void) | null = null;
  readonly #timer: NodeJS.Timeout;

  constructor(route: Route, timeoutMs: number, tooLate: () => HandshakeFailed) {
    super(route, "hello", {});
    this.#timer = setTimeout(() => this.fail(tooLate()), timeoutMs);
    this.result = new Promise((resolve, reject) => {
      this.#settle = () =>
        this.#hello === null ? reject(this.failure?.reason) : resolve(this.#hello);
    });
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
    this.#settle?.();
  }
}
