/** The errors of requests that were cancelled in the worker: by this client, or by another call. */

import {
  DrainTimeout,
  type MlxwireError,
  RequestCancelled,
  RequestTimeout,
  SlowConsumer,
} from "../errors.js";

/** Make the error of a request that passed its `timeoutMs`. */
export function tooLate(command: string, timeoutMs: number): RequestTimeout {
  return new RequestTimeout(
    `\`${command}\` took longer than the ${timeoutMs} ms of its timeoutMs and was cancelled; give it more ` +
      "time, or ask for less",
  );
}

/** Make the error of a request that passed its `idleTimeoutMs`. */
export function silent(command: string, idleTimeoutMs: number): RequestTimeout {
  return new RequestTimeout(
    `nothing came of \`${command}\` for the ${idleTimeoutMs} ms of its idleTimeoutMs, and it was cancelled; ` +
      "it may have waited for other requests, so give it a longer idleTimeoutMs",
  );
}

/** Make the error of a cancelled request that the worker did not end in time. */
export function notDrained(command: string, drainTimeoutMs: number): DrainTimeout {
  return new DrainTimeout(
    `the worker did not end the cancelled \`${command}\` within ${drainTimeoutMs} ms and may hang; close ` +
      "it and start another one, or call its restart()",
  );
}

/** Make the error of a stream whose buffer its consumer let overflow. */
export function tooSlow(count: number, bufferBytes: number): SlowConsumer {
  return new SlowConsumer(
    `${count} messages wait for their consumer and take more than the ${bufferBytes} bytes that a stream ` +
      "may hold; the request was cancelled. Take them faster, or start the worker with more bufferBytes",
  );
}

/**
 * Make the error of a request that its caller did not cancel; `closing` is its connection's
 * failure, if any.
 */
export function cancelledElsewhere(command: string, closing: MlxwireError | null): MlxwireError {
  return (
    closing?.copy() ??
    new RequestCancelled(
      `\`${command}\` was cancelled by another call; send it again if it is still wanted`,
    )
  );
}
