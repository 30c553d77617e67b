/** What is said of a worker that ended: by itself, by its host, or for an offence. */

import {
  type Exit,
  HandshakeFailed,
  type MlxwireError,
  ProtocolViolation,
  ShuttingDown,
  WorkerCrashed,
} from "./errors.js";

/** Where a worker stood when it ended. */
export interface Circumstances {
  /** Whether its answer to hello was still due: then it is most likely no worker at all. */
  readonly greeting: boolean;
  /** Lines on its stdout before the handshake that are no messages. */
  readonly strayLines: readonly Buffer[];
  /** The last that it wrote to stderr. */
  readonly stderrTail: string;
}

/** What a closed worker answers. */
export function closedByHost(): ShuttingDown {
  return new ShuttingDown("this worker was closed; start another one");
}

/** It exited though nobody asked. */
export function exited(status: Exit, at: Circumstances): MlxwireError {
  const how = describeExit(status);
  const { stderrTail } = at;
  if (at.greeting) {
    return new HandshakeFailed(
      `the worker ${how} before it answered hello${describeStrays(at.strayLines)}. See what it ` +
        "says on stderr, check that the command is a worker, or install one with " +
        "`pip install 'mlxwire[mlx]'`",
      { data: { exit_code: status.exitCode, signal: status.signal }, stderrTail },
    );
  }
  return new WorkerCrashed(`the worker ${how}. Start another one`, { ...status, stderrTail });
}

/** It did not answer hello in time. */
export function silentAtStart(ms: number, at: Circumstances): HandshakeFailed {
  return new HandshakeFailed(
    `the worker did not answer hello within ${ms} ms${describeStrays(at.strayLines)}. Check that the ` +
      "command is a worker, or give it a longer startTimeoutMs",
    { stderrTail: at.stderrTail },
  );
}

/** It lives, and can't be heard or spoken to any more. */
export function closedItsPipe(which: "stdin" | "stdout", at: Circumstances): MlxwireError {
  const what = `the worker closed its ${which} while it was still running`;
  const { stderrTail } = at;
  return at.greeting
    ? new HandshakeFailed(`${what}, before it answered hello. Check that the command is a worker`, {
        stderrTail,
      })
    : new WorkerCrashed(`${what}, and is ended for that. Start another one`, { stderrTail });
}

/** It lives and makes no progress. */
export function hangs(verdict: string, at: Circumstances): WorkerCrashed {
  const { stderrTail } = at;
  return new WorkerCrashed(`the worker ${verdict}. It is ended; start another one`, { stderrTail });
}

/** It broke the wire's rules; before the handshake that means it is no worker. */
export function offended(offence: Error, at: Circumstances): MlxwireError {
  const kind = at.greeting ? HandshakeFailed : ProtocolViolation;
  return new kind(`${offence.message}. The worker is stopped; start another one`, {
    stderrTail: at.stderrTail,
  });
}

/** It died of the same request as the one before, as far as can be told. */
export function killedAgain(error: WorkerCrashed): void {
  const message =
    `${error.message}. Its only request was the only one at the crash before, too: it most likely ` +
    "kills each worker, so don't send it again";
  Object.defineProperties(error, { message: { value: message }, retryable: { value: false } });
}

/** How often a worker died within its policy's window. */
export interface Crashes {
  readonly length: number;
  /** At how many of them requests were in flight. */
  readonly serving: number;
}

/** It died so often that it is not started again; `last` is how it did last. */
export function crashLoop(last: MlxwireError, crashes: Crashes, windowMs: number): WorkerCrashed {
  const status =
    last instanceof WorkerCrashed ? last : { exitCode: null, signal: null, inFlight: 0 };
  const verdict = new WorkerCrashed(
    `the worker died ${crashes.length} times within ${windowMs / 1000} s, ${crashes.serving} of them ` +
      "with requests in flight and the others at its start or idle, and is not started again; see " +
      `to the cause and call restart(). The last time: ${last.message}`,
    {
      exitCode: status.exitCode,
      signal: status.signal,
      retryable: false,
      stderrTail: last.stderrTail,
      cause: last,
    },
  );
  verdict.inFlight = status.inFlight;
  return verdict;
}

/** The same failure with the tail of stderr in it, where it has none. */
export function withTail(error: MlxwireError, stderrTail: string): MlxwireError {
  if (error.stderrTail !== "") {
    return error;
  }
  return Object.defineProperty(error, "stderrTail", { value: stderrTail, enumerable: true });
}

function describeExit({ exitCode, signal }: Exit): string {
  return signal === null ? `exited with code ${exitCode}` : `was ended by ${signal}`;
}

/** What came on stdout instead of an answer to hello, to follow a clause. */
function describeStrays(lines: readonly Buffer[]): string {
  const [first] = lines;
  if (first === undefined) {
    return "";
  }
  const shown = JSON.stringify(first.toString("utf8", 0, 200));
  return `, but wrote ${lines.length} other lines, the first ${shown}`;
}
