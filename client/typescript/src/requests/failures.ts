/** The errors of requests that were cancelled in the worker: by this client, or by another call. */

import {
  DrainTimeout,
  type MlxwireError,
  ProtocolViolation,
  RequestCancelled,
  RequestTimeout,
  SlowConsumer,
} from "../errors.js";
import { COMMANDS, type CommandName } from "../wire/commands.js";
import { Offence } from "../wire/requestState.js";

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
 * Make the error of a request that its caller did not cancel. If an end of the worker cancelled it,
 * `cut` is the error of that end.
 */
export function cancelledElsewhere(command: string, cut: MlxwireError | null): MlxwireError {
  return (
    cut?.copy() ??
    new RequestCancelled(
      `\`${command}\` was cancelled by another call; send it again if it is still wanted`,
    )
  );
}

/**
 * Check the type of a final. @throws Offence for a final of another command, ProtocolViolation for a
 * type that this client does not know.
 */
export function checkFinal(command: CommandName, type: unknown): void {
  const { final } = COMMANDS[command];
  if (type === final) {
    return;
  }
  const how = `\`${command}\` ended with \`${type}\` where \`${final}\` was due`;
  if (type === "result" || type === "done") {
    throw new Offence(how);
  }
  throw new ProtocolViolation(
    `${how}; the worker may be of a later version, so update this client`,
  );
}

/** Make the error of a stream whose `cancel` was called while it was iterated. */
export function cancelledByStream(command: string): RequestCancelled {
  return new RequestCancelled(
    `\`${command}\` was cancelled by its stream's cancel(), so the answer is not complete; leave the ` +
      "loop by `break` to end it without an error",
  );
}

/** Make the error of a training that was cancelled, with the checkpoint that it saved. */
export function trainingCancelled(checkpoint: string | null, step: unknown): RequestCancelled {
  const what =
    checkpoint === null
      ? "the training was cancelled before its first checkpoint; train again"
      : `the training was cancelled, and its state is in ${checkpoint}; train again with the same options and ` +
        "`resume` to go on from there";
  return new RequestCancelled(what, { data: { checkpoint, step } });
}
