/**
 * How far a worker may run ahead of a stream's consumer (SPEC §4.10): as many messages as the window
 * has, and as many more as were taken. Half a window is granted at once, so the worker never runs
 * dry and a thousand tokens cost one line of ours.
 */

/** Counts what was taken of one stream. */
export class Window {
  /** How many messages were taken. */
  taken = 0;
  readonly #step: number;
  #granted = 0;

  /** @param size null where the worker knows no windows. */
  constructor(size: number | null) {
    this.#step = size === null ? Number.POSITIVE_INFINITY : Math.floor(size / 2);
  }

  /** So many more were taken; how many may be granted now, 0 for none. */
  take(count: number): number {
    this.taken += count;
    const due = this.taken - this.#granted;
    if (due < this.#step) {
      return 0;
    }
    this.#granted = this.taken;
    return due;
  }
}
