/**
 * The ladder by which a worker is ended: ask, close its stdin, SIGTERM, SIGKILL. Each step has a
 * limit, both pipes are read throughout, and the signals go to the whole process group.
 */

/** Milliseconds that each step may take before the next; closing costs their sum at most. */
export interface ShutdownLimits {
  /** After `quit` was sent: 3000. */
  readonly quitMs: number;
  /** After its stdin was closed: 2000. */
  readonly stdinMs: number;
  /** After SIGTERM: 2000. */
  readonly termMs: number;
  /** After SIGKILL: 2000. */
  readonly killMs: number;
}

/** The limits where nothing else is said. */
export const DEFAULT_SHUTDOWN_LIMITS: ShutdownLimits = {
  quitMs: 3000,
  stdinMs: 2000,
  termMs: 2000,
  killMs: 2000,
};

/** What the ladder needs of a process. */
export interface Endable {
  /** Give it the end of its input. */
  closeStdin(): void;
  /** Signal it and all its group. */
  signalGroup(signal: NodeJS.Signals): void;
  /** Wait for its end; whether it came in time. */
  wait(ms: number): Promise<boolean>;
}

/**
 * Go down the ladder as far as it takes; whether the process has ended. Without `sayQuit` it begins
 * at SIGTERM, for a worker that can't be talked to.
 */
export async function endProcess(
  worker: Endable,
  limits: ShutdownLimits,
  sayQuit: (() => void) | null,
): Promise<boolean> {
  if (sayQuit !== null) {
    sayQuit();
    if (await worker.wait(limits.quitMs)) {
      return true;
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
