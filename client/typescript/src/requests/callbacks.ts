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

/** The callbacks of one signal, and its listener that calls them. */
interface Listening {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const listening = new WeakMap<AbortSignal, Listening>();

/**
 * Call `callback` once when the signal aborts; the function returned cancels that. A thousand
 * requests on one signal share one listener, so that Node does not warn of a leak; the last of
 * them takes it off the signal.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks, listener } = listening.get(signal) ?? listen(signal);
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size === 0 && listening.get(signal)?.callbacks === callbacks) {
      listening.delete(signal);
      signal.removeEventListener("abort", listener);
    }
  };
}

function listen(signal: AbortSignal): Listening {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    for (const callback of callbacks) {
      callback();
    }
  };
  const made = { callbacks, listener };
  listening.set(signal, made);
  signal.addEventListener("abort", listener);
  return made;
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
