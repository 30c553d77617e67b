/** The states of a worker, the steps between them, and the changes that its host is told of. */

import type { MlxwireError } from "../errors.js";

/**
 * The state of a worker. `failed`: the process died and none is started any more; `restarting`: the
 * process died and another one comes.
 */
export type WorkerState =
  | "stopped"
  | "starting"
  | "ready"
  | "draining"
  | "restarting"
  | "failed"
  | "closed";

/** A step from one state to another. */
export type Step = "start" | "ready" | "drain" | "crash" | "giveUp" | "stop" | "close";

const ANYTIME = { stop: "stopped", close: "closed" } as const;

/** The state after each step; a step without an entry is a defect. */
export const TRANSITIONS: Readonly<Record<WorkerState, Partial<Record<Step, WorkerState>>>> = {
  stopped: { ...ANYTIME, start: "starting" },
  starting: { ...ANYTIME, ready: "ready", crash: "restarting" },
  ready: { ...ANYTIME, drain: "draining", crash: "restarting" },
  draining: { ...ANYTIME, crash: "restarting" },
  restarting: { ...ANYTIME, start: "starting", giveUp: "failed" },
  failed: ANYTIME,
  closed: {},
};

/** A change of the process of a worker with the option `restart`. */
export type WorkerChange =
  /** A process answered hello. */
  | { readonly kind: "started"; readonly pid: number }
  /** The process has its model, and serves requests. */
  | { readonly kind: "ready"; readonly pid: number }
  /** The process died, or could not be started. */
  | { readonly kind: "crashed"; readonly pid: number | null; readonly error: MlxwireError }
  /** Another process is started in `delayMs` milliseconds. */
  | { readonly kind: "restarting"; readonly delayMs: number }
  /** No other process is started, and requests get this error, until `Worker.restart` is called. */
  | { readonly kind: "gaveUp"; readonly error: MlxwireError };
