/** A queue of messages, first in first out. */

/**
 * The least number of taken entries to cut off: few cuts make taking cost the same at every length.
 */
const COMPACT_AT = 1024;

/** A queue whose operations cost the same at every length. */
export class Queue<T> {
  #entries: (T | undefined)[] = [];
  #head = 0;

  /** The number of entries. */
  get length(): number {
    return this.#entries.length - this.#head;
  }

  /** Add an entry at the end. */
  push(entry: T): void {
    this.#entries.push(entry);
  }

  /** Take the first entry; there must be one. */
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

  /** Take all entries. */
  takeAll(): T[] {
    const all = this.#entries.slice(this.#head) as T[];
    this.#entries = [];
    this.#head = 0;
    return all;
  }
}
