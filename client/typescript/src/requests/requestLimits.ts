/** What one request may take: time, and memory for what its consumer has not taken yet. */

/** How much a stream may hold where nothing else is said. */
export const DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024;
/** Messages of one stream on their way where nothing else is said. */
export const DEFAULT_WINDOW = 256;

/** What a request may take, unless it says otherwise itself. */
export interface RequestLimits {
  /** For all of a request; undefined: no limit. */
  readonly requestTimeoutMs: number | undefined;
  /** For the time without a message while its consumer waits; undefined: no limit. */
  readonly idleTimeoutMs: number | undefined;
  /** How long a worker has to end a request that was cancelled. */
  readonly drainTimeoutMs: number;
  /** How many messages of a stream may be on their way. */
  readonly window: number;
  /** What a stream may hold for a slow consumer where the worker knows no windows. */
  readonly bufferBytes: number;
}
