/** What one request may take: time, and memory for what its consumer has not taken yet. */

/** How much a stream may hold where nothing else is said. */
export const DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024;
/** Messages of one stream on their way, at most. */
export const LARGEST_WINDOW = 4096;
/** What a message of a window is taken to need of the buffer. */
export const WINDOW_MESSAGE_BYTES = 256;

/** What a request may take, unless it says otherwise itself. */
export interface RequestLimits {
  /** For all of a request; undefined: no limit. */
  readonly requestTimeoutMs: number | undefined;
  /** For the time without a message while its consumer waits; undefined: no limit. */
  readonly idleTimeoutMs: number | undefined;
  /** How long a worker has to end a request that was cancelled. */
  readonly drainTimeoutMs: number;
  /** What a stream may hold for a slow consumer. */
  readonly bufferBytes: number;
}

/** How many messages of a stream may be on their way. */
export function windowFor(limits: RequestLimits): number {
  return Math.min(
    LARGEST_WINDOW,
    Math.max(1, Math.floor(limits.bufferBytes / WINDOW_MESSAGE_BYTES)),
  );
}
