/** What waits to be taken, first in first out. */

/** Where the taken front of the array is cut off: seldom, so that taking costs the same however many wait. */
const COMPACT_AT = 1024;

/** A queue whose both ends cost the same however long it is. */
export class Queue<T> {
  #entries: (T | undefined)[] = [];
  #head = 0;

  /** How many wait. */
  get length(): number {
    return this.#entries.length - this.#head;
  }

  /** Put one at the end. */
  push(entry: T): void {
    this.#entries.push(entry);
  }

  /** Take the first; there must be one. */
  shift(): T {
    const first = this.#entries[this.#head] as T;
    this.#entries[this.#head] = undefined;
    this.#head += 1;
    if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return first;
  }

  /** Take all that wait. */
  takeAll(): T[] {
    const all = this.#entries.slice(this.#head) as T[];
    this.#entries = [];
    this.#head = 0;
    return all;
  }
}
