/** What is said of a request that was cancelled in the worker: by this client, or by another call. */

import {
  DrainTimeout,
  type MlxwireError,
  RequestCancelled,
  RequestTimeout,
  SlowConsumer,
} from "../errors.js";

/** It took longer than its caller gave it. */
export function tooLate(command: string, timeoutMs: number): RequestTimeout {
  return new RequestTimeout(
    `\`${command}\` took longer than the ${timeoutMs} ms it was given and was cancelled; give it more ` +
      "time or ask for less",
  );
}

/** Nothing came of it though its consumer waited. */
export function silent(command: string, idleTimeoutMs: number): RequestTimeout {
  return new RequestTimeout(
    `nothing came of \`${command}\` for ${idleTimeoutMs} ms, and it was cancelled; it may wait for ` +
      "others, so give it a longer idleTimeoutMs",
  );
}

/** The worker did not end it, though it was cancelled. */
export function notDrained(command: string, drainTimeoutMs: number): DrainTimeout {
  return new DrainTimeout(
    `the worker did not end the cancelled \`${command}\` within ${drainTimeoutMs} ms; it may hang, ` +
      "close it and start another one, or call its restart()",
  );
}

/** Its consumer let the buffer overflow. */
export function tooSlow(count: number, bufferBytes: number): SlowConsumer {
  return new SlowConsumer(
    `${count} messages waited to be taken, more than the ${bufferBytes} bytes that a stream may hold; ` +
      "the request was cancelled. Take them faster, or give the worker more bufferBytes",
  );
}

/** It was cancelled, and not by its caller; `closing` is why its connection takes no more, if it does not. */
export function cancelledElsewhere(command: string, closing: MlxwireError | null): MlxwireError {
  return (
    closing?.copy() ??
    new RequestCancelled(
      `\`${command}\` was cancelled by another call; ask again where it is still wanted`,
    )
  );
}
