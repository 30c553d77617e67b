/** Notices when nothing comes of a request while its consumer waits. */

/** Looks within the limit: a silence may last up to a quarter longer than the limit. */
const LOOKS = 4;

/**
 * Calls `onSilent` when nothing has come for `limitMs`; the callee has to close the watch. `mark`
 * gives a number that changes with each message, or null while messages wait for the consumer.
 */
export class IdleWatch {
  readonly #limitMs: number;
  readonly #mark: () => number | null;
  readonly #onSilent: () => void;
  readonly #timer: NodeJS.Timeout;
  #before: number | null;
  #since = performance.now();

  constructor(limitMs: number, mark: () => number | null, onSilent: () => void) {
    this.#limitMs = limitMs;
    this.#mark = mark;
    this.#onSilent = onSilent;
    this.#before = mark();
    this.#timer = setInterval(() => this.#look(), limitMs / LOOKS);
  }

  /** Stop watching. */
  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    const mark = this.#mark();
    if (mark === null || mark !== this.#before) {
      this.#since = now;
    }
    this.#before = mark;
    if (now - this.#since >= this.#limitMs) {
      this.#onSilent();
    }
  }
}
