/**
 * Decides from heartbeats if a worker still makes progress; reads no clock. During a long prefill
 * the steps advance; in a worker that hangs they do not; a stopped process sends nothing.
 */

import type { Heartbeat } from "../results.js";

/** Milliseconds after which a worker counts as dead although its process runs. */
export interface LivenessLimits {
  /** Without any message, heartbeats included: 30,000. */
  readonly silenceMs: number;
  /** Without a step while it computes: 120,000. */
  readonly stepMs: number;
  /**
   * Limits in place of `stepMs` for some phases of `Heartbeat`; null is no limit, the default of `idle`
   * and `load`.
   */
  readonly phases: Readonly<Record<string, number | null>>;
}

/** The default limits. */
export const DEFAULT_LIVENESS_LIMITS: LivenessLimits = {
  silenceMs: 30_000,
  stepMs: 120_000,
  phases: { idle: null, load: null },
};

/**
 * Judges one worker at regular looks. A look that comes late counts as two intervals at most: a
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

  /** @param intervalMs the time between two calls of `verdict`. */
  constructor(limits: LivenessLimits, intervalMs: number, now: number) {
    this.#limits = limits;
    this.#intervalMs = intervalMs;
    this.#looked = now;
  }

  /** Record a heartbeat. */
  takeBeat(beat: Heartbeat): void {
    const before = this.#beat;
    this.#beat = beat;
    if (before?.phase !== beat.phase || before.steps !== beat.steps) {
      this.#stuckMs = 0;
    }
  }

  /**
   * Return what is wrong with the worker; null if nothing is wrong. `heard` changes with each chunk
   * of bytes.
   */
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
    // Both clocks must agree: the worker's runs on while this host stands still, and at the start of
    // a step the worker still tells the age of the step before.
    const stuck = Math.min(this.#stuckMs, lastStepSeconds * 1000);
    return limit === null || stuck < limit
      ? null
      : `hangs: in phase ${phase} it took no step for ${Math.round(stuck)} ms`;
  }
}
