/** Decides how often and how soon a worker is started again; reads no clock and draws no chance. */

import { isDeepStrictEqual } from "node:util";
import type { JsonObject } from "../wire/json.js";
import { LONGEST_MS } from "../wire/optionChecks.js";

/** Doublings of the shortest pause, 1 ms, after which it is longer than any timer. */
const MOST_DOUBLINGS = 31;

/**
 * When a worker that died is started again. A worker that dies more than `maxRestarts` times within
 * `windowMs` is given up. The pause before a restart is `backoffMinMs`, doubled for each further
 * crash within the window, and `backoffMaxMs` at most; `jitter` makes it longer or shorter by
 * chance, so that many hosts do not start their workers all at once.
 */
export interface RestartPolicy {
  /** The most restarts within the window: 3. With 0 the worker is given up at its first crash. */
  readonly maxRestarts: number;
  /** Milliseconds of the sliding window: 300,000. */
  readonly windowMs: number;
  /** Milliseconds of the first pause: 500. */
  readonly backoffMinMs: number;
  /** Milliseconds of the longest pause: 30,000. */
  readonly backoffMaxMs: number;
  /** The part of a pause by which it is made longer or shorter, 0 to 1: 0.2. */
  readonly jitter: number;
}

/** The default policy. */
export const DEFAULT_RESTART_POLICY: RestartPolicy = {
  maxRestarts: 3,
  windowMs: 300_000,
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  jitter: 0.2,
};

/**
 * The crashes of one worker within a sliding window. A good start does not reset the window: a
 * worker that dies each time it is used starts well.
 */
export class CrashHistory {
  readonly #policy: RestartPolicy;
  #crashes: { readonly at: number; readonly serving: boolean }[] = [];

  constructor(policy: RestartPolicy) {
    this.#policy = policy;
  }

  /** The number of crashes within the window. */
  get length(): number {
    return this.#crashes.length;
  }

  /** The number of these crashes with requests in flight. */
  get serving(): number {
    return this.#crashes.filter(({ serving }) => serving).length;
  }

  /**
   * Count a crash. Returns the milliseconds to wait before the restart; null to give up. `chance`
   * is 0 to 1.
   */
  crashed(now: number, chance: number, serving = false): number | null {
    const { maxRestarts, windowMs, backoffMinMs, backoffMaxMs, jitter } = this.#policy;
    const recent = this.#crashes.filter(({ at }) => at > now - windowMs);
    this.#crashes = [...recent, { at: now, serving }];
    if (this.#crashes.length > maxRestarts) {
      return null;
    }
    const doublings = Math.min(this.#crashes.length - 1, MOST_DOUBLINGS);
    const pause = Math.min(backoffMaxMs, backoffMinMs * 2 ** doublings);
    return Math.min(LONGEST_MS, pause * (1 + jitter * (2 * chance - 1)));
  }

  /** Forget all crashes. */
  forget(): void {
    this.#crashes = [];
  }
}

/** A request, as far as two of them can be compared. */
export interface Asked {
  readonly command: string;
  readonly fields: JsonObject;
}

/**
 * Finds a request that kills one worker after another: the same request, alone in flight at two
 * crashes in a row. Among other requests in flight it can't be told from those.
 */
export class Suspect {
  #alone: Asked | null = null;

  /**
   * Record a crash. Returns true if the only request in flight was also the only one at the crash
   * before.
   */
  crashed(inFlight: readonly Asked[]): boolean {
    const before = this.#alone;
    const [first] = inFlight;
    const alone = inFlight.length === 1 && first !== undefined;
    this.#alone = alone ? { command: first.command, fields: first.fields } : null;
    return alone && isDeepStrictEqual(this.#alone, before);
  }
}
