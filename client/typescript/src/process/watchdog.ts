/** Ends a worker that runs but makes no progress. `Liveness` decides; a timer calls it. */

import type { Exit, MlxwireError } from "../errors.js";
import type { Heartbeat } from "../results.js";
import { Liveness, type LivenessLimits } from "./liveness.js";
import { type Circumstances, type Death, hangs } from "./postmortem.js";

/** The number of checks within the shortest limit. */
const LOOKS_WITHIN_LIMIT = 8;

/** The parts of a connection that a watchdog uses. */
export interface Watched {
  /** Not null once the worker has ended or is being ended. */
  readonly failure: MlxwireError | null;
  /** A counter that grows with each chunk of bytes from the worker. */
  readonly chunksRead: number;
  readonly circumstances: Circumstances;
  readonly exited: Promise<Exit>;
  /** Fail all pending requests and end the worker. */
  condemn(death: Death): void;
}

/** Checks one connection regularly until its process has ended. */
export class Watchdog {
  readonly #watched: Watched;
  readonly #liveness: Liveness;

  constructor(watched: Watched, limits: LivenessLimits) {
    const ofPhases = Object.values(limits.phases).filter((limit) => limit !== null);
    const intervalMs = Math.min(limits.silenceMs, limits.stepMs, ...ofPhases) / LOOKS_WITHIN_LIMIT;
    this.#watched = watched;
    this.#liveness = new Liveness(limits, intervalMs, performance.now());
    const timer = setInterval(() => this.#look(), intervalMs).unref();
    void watched.exited.then(() => clearInterval(timer));
  }

  /** Record a heartbeat. */
  takeBeat(beat: Heartbeat): void {
    this.#liveness.takeBeat(beat);
  }

  #look(): void {
    const watched = this.#watched;
    if (watched.failure !== null) {
      return; // it is being ended
    }
    const verdict = this.#liveness.verdict(watched.chunksRead, performance.now());
    if (verdict !== null) {
      watched.condemn(hangs(verdict, watched.circumstances));
    }
  }
}
