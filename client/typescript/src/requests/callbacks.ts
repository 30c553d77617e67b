/**
 * Telling others: the host's callbacks, abort signals, and promises that are settled from outside.
 */

/**
 * Call a callback of the host; an exception becomes an uncaught one, as in an event handler of
 * Node.
 */
export function callGuarded<T>(callback: ((argument: T) => void) | undefined, argument: T): void {
  try {
    callback?.(argument);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

const listening = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Call `callback` once when the signal aborts; the function returned cancels that. A thousand
 * requests on one signal share one listener, so that Node does not warn of a leak.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const known = listening.get(signal);
  const callbacks = known ?? new Set();
  callbacks.add(callback);
  if (known === undefined) {
    listening.set(signal, callbacks);
    signal.addEventListener("abort", () => callAll(callbacks));
  }
  return () => callbacks.delete(callback);
}

function callAll(callbacks: ReadonlySet<() => void>): void {
  for (const callback of callbacks) {
    callback();
  }
}

/**
 * A promise that is settled from outside; the first `resolve` or `reject` counts.
 * `Promise.withResolvers` is newer than Node 20.
 */
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
