/** Requests that one result answers, and requests whose answer nobody waits for. */

import type { CallOptions } from "../options.js";
import type { CommandName } from "../wire/commands.js";
import type { JsonObject } from "../wire/json.js";
import { readDone } from "../wire/readReplies.js";
import { CALL, type SentOptions, wireFields } from "../wire/wireFields.js";
import { Deferred } from "./callbacks.js";
import { cancelledElsewhere, checkFinal } from "./failures.js";
import { PendingRequest } from "./pending.js";
import type { Route } from "./route.js";

/** A request with the promise of its result, which `read` makes of the reply. */
export class ResultRequest<T> extends PendingRequest {
  readonly #result = new Deferred<T>();
  #value: { readonly read: T } | null = null;
  readonly #read: (message: JsonObject) => T;

  constructor(
    route: Route,
    command: CommandName,
    fields: JsonObject,
    read: (message: JsonObject) => T,
    options?: PendingRequest["options"],
  ) {
    super(route, command, fields, options);
    this.#read = read;
  }

  /** Settled with the result, or rejected with the error that ended the request. */
  get result(): Promise<T> {
    return this.#result.promise;
  }

  protected override onFinal(message: JsonObject): void {
    if (message.type === "done" && readDone(message).finishReason === "cancelled") {
      throw cancelledElsewhere(this.command, this.sender?.cut ?? null); // SPEC §4.6
    }
    checkFinal(this.command, message.type);
    this.#value = { read: this.#read(message) };
  }

  protected override onOver(): void {
    const { failure } = this;
    if (failure !== null) {
      this.#result.reject(failure.reason);
    } else if (this.#value !== null) {
      this.#result.resolve(this.#value.read);
    }
  }
}

/**
 * Send a request and wait for its result. Rejects with the error that ended the request.
 *
 * @param sent the options of the command, beside those of every call.
 */
export async function ask<T>(
  route: Route,
  command: CommandName,
  fields: JsonObject,
  read: (message: JsonObject) => T,
  options: CallOptions = {},
  sent: SentOptions = {},
): Promise<T> {
  const asked = { ...fields, ...wireFields(command, options, sent, CALL) };
  const { timeoutMs = route.limits.requestTimeoutMs, signal } = options;
  const request = new ResultRequest(route, command, asked, read, { timeoutMs, signal });
  request.open();
  return request.result;
}

/** A request whose answer nobody waits for. */
export class UnheardRequest extends PendingRequest {
  protected override onFinal(): void {}
  protected override onOver(): void {}
}
