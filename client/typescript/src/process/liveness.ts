/**
 * Whether a worker still makes progress, judged by its heartbeats alone; knows no clock. A long
 * prefill takes steps, a wedge does not, and a process that was stopped says nothing at all.
 */

import type { Heartbeat } from "../results.js";

/** Milliseconds until a worker counts as dead, though its process is there. */
export interface LivenessLimits {
  /** Nothing came, not even a heartbeat: 30,000. */
  readonly silenceMs: number;
  /** It computes and took no step: 120,000. */
  readonly stepMs: number;
  /** Other limits for steps of some phases of `Heartbeat`, null for none: `idle` and `load` have none. */
  readonly phases: Readonly<Record<string, number | null>>;
}

/** The limits where nothing else is said. */
export const DEFAULT_LIVENESS_LIMITS: LivenessLimits = {
  silenceMs: 30_000,
  stepMs: 120_000,
  phases: { idle: null, load: null },
};

/**
 * Judges from what was heard by when. A look that comes late counts as little more than one interval: a
 * host that stood still itself, or slept with the whole machine, may not blame its worker.
 */
export class Liveness {
  readonly #limits: LivenessLimits;
  readonly #intervalMs: number;
  #looked: number;
  #heard = 0;
  #silentMs = 0;
  #stuckMs = 0;
  #beat: Heartbeat | null = null;

  /** @param intervalMs how often `verdict` is asked. */
  constructor(limits: LivenessLimits, intervalMs: number, now: number) {
    this.#limits = limits;
    this.#intervalMs = intervalMs;
    this.#looked = now;
  }

  /** A heartbeat has come. */
  takeBeat(beat: Heartbeat): void {
    const before = this.#beat;
    this.#beat = beat;
    if (before?.phase !== beat.phase || before.steps !== beat.steps) {
      this.#stuckMs = 0;
    }
  }

  /** What is wrong with it, or null. `heard` changes whenever anything comes. */
  verdict(heard: number, now: number): string | null {
    const passed = Math.min(now - this.#looked, 2 * this.#intervalMs);
    this.#looked = now;
    this.#silentMs = heard === this.#heard ? this.#silentMs + passed : 0;
    this.#heard = heard;
    this.#stuckMs += passed;
    return this.#silence() ?? this.#wedge();
  }

  #silence(): string | null {
    return this.#silentMs < this.#limits.silenceMs
      ? null
      : `has said nothing for ${Math.round(this.#silentMs)} ms: it was stopped, or hangs`;
  }

  #wedge(): string | null {
    if (this.#beat === null) {
      return null;
    }
    const { phase, lastStepSeconds } = this.#beat;
    const own = this.#limits.phases[phase];
    const limit = own === undefined ? this.#limits.stepMs : own;
    // The worker's clock runs on where ours did not; both must agree. And the age that it tells is
    // of the step before, where it has only just begun.
    const stuck = Math.min(this.#stuckMs, lastStepSeconds * 1000);
    return limit === null || stuck < limit
      ? null
      : `hangs: in phase ${phase} it took no step for ${Math.round(stuck)} ms`;
  }
}
