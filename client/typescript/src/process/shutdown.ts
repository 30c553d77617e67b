/**
 * The ladder that ends a worker: `quit`, close its stdin, SIGTERM, SIGKILL. Each step has a limit,
 * both output pipes are read throughout, and the signals go to the whole process group.
 */

/**
 * How often the step of `quit` is taken at most, while requests in flight still get their finals: the
 * worker owes them, and writes them as long as they are read (SPEC §9).
 */
const MOST_TURNS = 10;

/**
 * Milliseconds from each step to the next. A close takes their sum at most. While requests in flight
 * still get their finals, `quitMs` counts up to ten times.
 */
export interface ShutdownLimits {
  /** From `quit` on: 3000. */
  readonly quitMs: number;
  /** From the end of stdin on: 2000. */
  readonly stdinMs: number;
  /** From SIGTERM on: 2000. */
  readonly termMs: number;
  /** From SIGKILL on: 2000. */
  readonly killMs: number;
}

/** The default limits. */
export const DEFAULT_SHUTDOWN_LIMITS: ShutdownLimits = {
  quitMs: 3000,
  stdinMs: 2000,
  termMs: 2000,
  killMs: 2000,
};

/** A process, as the ladder uses it. */
export interface Endable {
  /** Close stdin. */
  closeStdin(): void;
  /** Signal the process and its group. */
  signalGroup(signal: NodeJS.Signals): void;
  /** Wait for the process to end. Returns false if it did not end within `ms`. */
  wait(ms: number): Promise<boolean>;
}

/**
 * End a process by as many steps of the ladder as needed. Returns false if it did not end. Without
 * `sayQuit` the ladder begins at SIGTERM, for a worker that can't be talked to. `inFlight` gives the
 * number of requests that wait for their final.
 */
export async function endProcess(
  worker: Endable,
  limits: ShutdownLimits,
  sayQuit: (() => void) | null,
  inFlight: () => number,
): Promise<boolean> {
  if (sayQuit !== null) {
    sayQuit();
    for (let turn = 0; turn < MOST_TURNS; turn += 1) {
      const before = inFlight();
      if (await worker.wait(limits.quitMs)) {
        return true;
      }
      const left = inFlight();
      if (left === 0 || left >= before) {
        break;
      }
    }
    worker.closeStdin();
    if (await worker.wait(limits.stdinMs)) {
      return true;
    }
  }
  worker.closeStdin();
  worker.signalGroup("SIGTERM");
  if (await worker.wait(limits.termMs)) {
    return true;
  }
  worker.signalGroup("SIGKILL");
  return worker.wait(limits.killMs);
}
