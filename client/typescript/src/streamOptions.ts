/** How a call behaves on this side of the wire; nothing of it is sent. */

import type { Progress } from "./results.js";

/** Of every call. */
export interface CallOptions {
  /** Milliseconds that it may take in all; then it fails with `RequestTimeout`. */
  readonly timeoutMs?: number | undefined;
  /** Cancels it in the worker, and fails it with the signal's own reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Of every call that streams. */
export interface StreamOptions extends CallOptions {
  /** Milliseconds without a message while somebody waits for one; then it fails likewise. */
  readonly idleTimeoutMs?: number | undefined;
  /** Hears how far the prompt, or another stage, has come. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}
