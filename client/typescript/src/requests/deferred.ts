/** A promise that is settled from outside; `Promise.withResolvers` is newer than Node 20. */

/** Whoever waits for `promise` is told by `resolve` or `reject`; the first of these counts. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}
