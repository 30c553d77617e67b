/** How often and how soon a worker that died is started again; knows no clock and no dice. */

import { isDeepStrictEqual } from "node:util";
import type { JsonObject } from "../wire/json.js";

/**
 * A worker that dies more than `maxRestarts` times within `windowMs` is given up. Before each restart
 * passes a pause: `backoffMinMs`, twice as long for each further crash within the window,
 * `backoffMaxMs` at most; and up to the part `jitter` of it more or less, by chance, so that many
 * hosts do not start all at once.
 */
export interface RestartPolicy {
  /** 3. */
  readonly maxRestarts: number;
  /** 300,000. */
  readonly windowMs: number;
  /** 500. */
  readonly backoffMinMs: number;
  /** 30,000. */
  readonly backoffMaxMs: number;
  /** 0 to 1: 0.2. */
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
  #crashes: { readonly at: number; readonly serving: boolean }[] = [];

  constructor(policy: RestartPolicy) {
    this.#policy = policy;
  }

  /** How many crashes there were within the window. */
  get length(): number {
    return this.#crashes.length;
  }

  /** At how many of them requests were in flight. */
  get serving(): number {
    return this.#crashes.filter(({ serving }) => serving).length;
  }

  /** Milliseconds to wait before the restart, or null to give up. `chance` is 0 to 1. */
  crashed(now: number, chance: number, serving = false): number | null {
    const { maxRestarts, windowMs, backoffMinMs, backoffMaxMs, jitter } = this.#policy;
    const recent = this.#crashes.filter(({ at }) => at > now - windowMs);
    this.#crashes = [...recent, { at: now, serving }];
    if (this.#crashes.length > maxRestarts) {
      return null;
    }
    const pause = Math.min(backoffMaxMs, backoffMinMs * 2 ** (this.#crashes.length - 1));
    return pause * (1 + jitter * (2 * chance - 1));
  }

  /** Begin anew. */
  forget(): void {
    this.#crashes = [];
  }
}

/** What was asked. */
export interface Asked {
  readonly command: string;
  readonly fields: JsonObject;
}

/**
 * Finds a request that kills one worker after the other. The same one, alone in flight at two crashes
 * in a row, is no chance; among others nothing tells it from those.
 */
export class Suspect {
  #alone: Asked | null = null;

  /** Note a crash; whether the only request was the only one at the crash before too. */
  crashed(inFlight: readonly Asked[]): boolean {
    const before = this.#alone;
    const [first] = inFlight;
    const alone = inFlight.length === 1 && first !== undefined;
    this.#alone = alone ? { command: first.command, fields: first.fields } : null;
    return alone && isDeepStrictEqual(this.#alone, before);
  }
}
