/** Ends a worker that lives and makes no progress: `liveness` judges, a timer keeps the time. */

import type { Connection } from "../requests/connection.js";
import type { Heartbeat } from "../results.js";
import { Liveness, type LivenessLimits } from "./liveness.js";
import { hangs } from "./postmortem.js";

/** How often it is looked within the shortest limit. */
const LOOKS_WITHIN_LIMIT = 8;

/** Looks after one connection until that ends. */
export class Watchdog {
  readonly #connection: Connection;
  readonly #liveness: Liveness;

  constructor(connection: Connection, limits: LivenessLimits) {
    const ofPhases = Object.values(limits.phases).filter((limit) => limit !== null);
    const intervalMs = Math.min(limits.silenceMs, limits.stepMs, ...ofPhases) / LOOKS_WITHIN_LIMIT;
    this.#connection = connection;
    this.#liveness = new Liveness(limits, intervalMs, performance.now());
    const timer = setInterval(() => this.#look(), intervalMs).unref();
    void connection.exited.then(() => clearInterval(timer));
  }

  /** A heartbeat has come. */
  takeBeat(beat: Heartbeat): void {
    this.#liveness.takeBeat(beat);
  }

  #look(): void {
    const connection = this.#connection;
    if (connection.failure !== null) {
      return; // it is being ended
    }
    const verdict = this.#liveness.verdict(connection.chunksRead, performance.now());
    if (verdict !== null) {
      connection.condemn(hangs(verdict, connection.circumstances));
    }
  }
}
