/** From a code on the wire to its class. */

import * as errors from "../errors.js";
import { type ErrorDetails, MlxwireError, ProtocolViolation, WorkerError } from "../errors.js";
import { isObject } from "./json.js";

type ErrorClass = new (message: string, details?: ErrorDetails) => MlxwireError;

/** The classes by their code. */
export const ERRORS_BY_CODE: ReadonlyMap<string, ErrorClass> = new Map(
  Object.values(errors)
    .filter((kind) => kind !== MlxwireError && kind !== WorkerError)
    .map((kind) => [kind.code, kind]),
);

/** The error for a code; a plain `WorkerError` where the code is not known. */
export function errorFromCode(code: string, message: string, details: ErrorDetails): MlxwireError {
  // A worker that can still say so has not crashed.
  const known = code === "worker_crashed" ? undefined : ERRORS_BY_CODE.get(code);
  return new (known ?? WorkerError)(message, { ...details, code });
}

/** The error in the `error` field of a reply or of a batch's item. */
export function errorFromBody(body: unknown): MlxwireError {
  if (!isObject(body)) {
    return new ProtocolViolation(`an error reply has no error in it: ${String(body)}`);
  }
  const { code, message, retryable, data } = body;
  return errorFromCode(String(code), String(message), {
    retryable: retryable === true,
    data: isObject(data) ? data : {},
  });
}
