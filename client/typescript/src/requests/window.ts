/**
 * Counts how far a worker may run ahead of a stream's consumer (SPEC §4.10): by the size of the
 * window, and by one message more for each that was taken. Half a window is granted at once, so
 * that the worker never runs dry and a thousand tokens cost few lines of credit.
 */

/** The window of one stream. */
export class Window {
  /** The number of messages taken. */
  taken = 0;
  readonly #step: number;
  #granted = 0;

  /** @param size the messages of the window; null if the worker knows no windows. */
  constructor(size: number | null) {
    this.#step = size === null ? Number.POSITIVE_INFINITY : Math.floor(size / 2);
  }

  /** Count messages as taken. Returns the number of messages to grant now, which may be 0. */
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
