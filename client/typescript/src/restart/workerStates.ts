/** What may become of a supervised worker, and what its host is told of it. */

import type { MlxwireError } from "../errors.js";

/** What is with a supervised worker now; `failed` is a crash loop's verdict. */
export type WorkerState =
  | "stopped"
  | "starting"
  | "ready"
  | "draining"
  | "restarting"
  | "failed"
  | "closed";

/** What moves it from one state to another. */
export type Step = "start" | "ready" | "drain" | "crash" | "giveUp" | "stop" | "close";

const ANYTIME = { stop: "stopped", close: "closed" } as const;

/** What may follow what; all else is a defect. */
export const TRANSITIONS: Readonly<Record<WorkerState, Partial<Record<Step, WorkerState>>>> = {
  stopped: { ...ANYTIME, start: "starting" },
  starting: { ...ANYTIME, ready: "ready", crash: "restarting" },
  ready: { ...ANYTIME, drain: "draining", crash: "restarting" },
  draining: { ...ANYTIME, crash: "restarting" },
  restarting: { ...ANYTIME, start: "starting", giveUp: "failed" },
  failed: ANYTIME,
  closed: {},
};

/** Something that became of a supervised worker. */
export type WorkerChange =
  /** It answered hello. */
  | { readonly kind: "started"; readonly pid: number }
  /** Its model is loaded, and requests are served. */
  | { readonly kind: "ready"; readonly pid: number }
  /** It died, or could not be started. */
  | { readonly kind: "crashed"; readonly pid: number | null; readonly error: MlxwireError }
  /** Another starts in so many milliseconds. */
  | { readonly kind: "restarting"; readonly delayMs: number }
  /** None is started any more, and requests get this error; `Supervisor.restart` begins anew. */
  | { readonly kind: "gaveUp"; readonly error: MlxwireError };
