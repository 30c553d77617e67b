/** When a worker that died is started again, and when it is given up. Knows no clock, no chance. */

/** How often, and how soon, a worker that crashed is started again. */
export interface RestartPolicy {
  /** Restarts within the window; the crash after them is a crash loop: 3. */
  readonly maxRestarts: number;
  /** The window, which slides: a good start does not reset it: 300,000. */
  readonly windowMs: number;
  /** The pause before the first restart of a window; it doubles with each: 500. */
  readonly backoffMinMs: number;
  /** The longest pause: 30,000. */
  readonly backoffMaxMs: number;
  /** Spreads a pause by that part of it, so that many hosts do not start all at once: 0.2. */
  readonly jitter: number;
}

/** The policy where nothing else is said. */
export const DEFAULT_RESTART_POLICY: RestartPolicy = {
  maxRestarts: 3,
  windowMs: 300_000,
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  jitter: 0.2,
};

/**
 * The crashes of one worker within a sliding window. A good start in between counts for nothing: a
 * worker that dies each time it is used starts well.
 */
export class CrashHistory {
  readonly #policy: RestartPolicy;
  #crashes: number[] = [];

  constructor(policy: RestartPolicy) {
    this.#policy = policy;
  }

  /** How many crashes the window has. */
  get count(): number {
    return this.#crashes.length;
  }

  /** Note a crash: the pause before the restart, or null to give up. `chance` is 0 to 1. */
  crashed(nowMs: number, chance: number): number | null {
    const { maxRestarts, windowMs, backoffMinMs, backoffMaxMs, jitter } = this.#policy;
    this.#crashes = [...this.#crashes.filter((crash) => crash > nowMs - windowMs), nowMs];
    if (this.count > maxRestarts) {
      return null;
    }
    const pause = Math.min(backoffMaxMs, backoffMinMs * 2 ** (this.count - 1));
    return pause * (1 + jitter * (2 * chance - 1));
  }
}
