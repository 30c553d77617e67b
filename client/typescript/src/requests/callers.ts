/** Remembers who made a request, and shows that in the stack of the request's error. */

import type { MlxwireError } from "../errors.js";

/** The frames of a caller, as `Error.captureStackTrace` keeps them. */
export interface Callers {
  readonly stack?: string;
}

/** Remember who calls, without the frames up to the constructor `above`. */
export function captureCallers(above: abstract new (...args: never) => unknown): Callers {
  const callers: Callers = {};
  Error.captureStackTrace(callers, above);
  return callers;
}

/**
 * Show a request's callers in the stack of its error. The error was made when bytes came or a timer
 * ran, so its own stack does not lead to them.
 */
export function showCallers(error: MlxwireError, { stack }: Callers): void {
  const frames = typeof stack === "string" ? stack.indexOf("\n    at ") : -1;
  if (stack !== undefined && frames >= 0) {
    error.stack = `${error.name}: ${error.message}${stack.slice(frames)}`;
  }
}
