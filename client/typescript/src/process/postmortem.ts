/** What is said of a worker that ended: by itself, by its host, or for an offence. */

import {
  type Exit,
  HandshakeFailed,
  type MlxwireError,
  ProtocolViolation,
  ShuttingDown,
  WorkerCrashed,
} from "../errors.js";

/** Where a worker stood when it ended. */
export interface Circumstances {
  /** Whether its answer to hello was still due: then it is most likely no worker at all. */
  readonly greeting: boolean;
  /** Lines on its stdout before the handshake that are no messages. */
  readonly strayLines: readonly Buffer[];
  /** The last that it wrote to stderr. */
  readonly stderrTail: string;
}

const START_ANOTHER = ". Start another one";
const ANOTHER_COMES =
  ". Another one is started, as far as the restart policy allows; no request is sent again by itself";

/** Make the error of requests to a worker that its host closed. */
export function closedByHost(): ShuttingDown {
  return new ShuttingDown("this worker was closed; start another one");
}

/** Its supervisor does what the host of a worker alone has to. */
export function anotherComes(error: MlxwireError): void {
  const value = error.message.replace(START_ANOTHER, ANOTHER_COMES);
  Object.defineProperty(error, "message", { value });
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
  return new WorkerCrashed(`the worker ${how}${START_ANOTHER}`, { ...status, stderrTail });
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
    : new WorkerCrashed(`${what}, and is ended for that${START_ANOTHER}`, { stderrTail });
}

/** It lives and makes no progress. */
export function hangs(verdict: string, at: Circumstances): WorkerCrashed {
  const { stderrTail } = at;
  return new WorkerCrashed(`the worker ${verdict}, and is ended for that${START_ANOTHER}`, {
    stderrTail,
  });
}

/** It broke the wire's rules; before the handshake that means it is no worker. */
export function offended(offence: Error, at: Circumstances): MlxwireError {
  const { stderrTail } = at;
  return at.greeting
    ? new HandshakeFailed(
        `${offence.message}. Check that the command is a worker, of a version that this client knows`,
        { stderrTail },
      )
    : new ProtocolViolation(
        `${offence.message}, and the worker is stopped for that${START_ANOTHER}`,
        { stderrTail },
      );
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
  const how = last.message.replace(ANOTHER_COMES, "").replace(START_ANOTHER, "");
  const verdict = new WorkerCrashed(
    `the worker died ${crashes.length} times within ${windowMs / 1000} s, ${crashes.serving} of them ` +
      "with requests in flight and the others at its start or idle, and is not started again; see " +
      `to the cause and call restart(). The last time: ${how}`,
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
