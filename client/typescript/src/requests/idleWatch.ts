/** Notices that nothing comes of a request while its consumer waits. */

/** How often within the limit it is looked: silence may last a quarter more. */
const LOOKS = 4;

/**
 * Calls `onSilent` when nothing has come for `limitMs`, and is closed then by whoever is told. `mark`
 * gives something that changes with each message, or null while the consumer has some to take.
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
