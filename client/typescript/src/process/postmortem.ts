/**
 * The errors of a worker that ended: by itself, by its host, or for an offence. A `Death` holds how
 * it ended; its error is composed once, when it is known whether another process follows
 * (`Outlook`).
 */

import {
  type Exit,
  HandshakeFailed,
  type MlxwireError,
  ProtocolViolation,
  RequestCancelled,
  ShuttingDown,
  WorkerCrashed,
} from "../errors.js";

/** The state of a worker when it ended. */
export interface Circumstances {
  /** True while the answer to hello is due: the program is then most likely no worker at all. */
  readonly greeting: boolean;
  /** Lines on its stdout before the handshake that are no messages. */
  readonly strayLines: readonly Buffer[];
  /** The last that it wrote to stderr. */
  readonly stderrTail: string;
}

/** The prospect after a worker's end. */
export interface Outlook {
  /** True if the restart policy starts another process, as long as it does not give up. */
  readonly restarts: boolean;
  /** True if the request in flight was also the only one at the crash before. */
  readonly poisonous: boolean;
}

/** The outlook of a worker that nobody restarts. */
export const NO_RESTART: Outlook = { restarts: false, poisonous: false };

/** The end of a worker, before its error is composed. */
export interface Death {
  /** The end as a clause, without advice: "the worker exited with code 1". */
  readonly how: string;
  /** Compose the error. */
  error(outlook: Outlook): MlxwireError;
}

const ADVICE_ALONE = "Start another one";
const ADVICE_WITH_RESTART =
  "Another one is started, as far as the restart policy allows; no request is sent again by itself";
const ADVICE_POISONOUS =
  "Its only request was the only one at the crash before, too: it most likely kills each worker, so " +
  "don't send it again";

/** Make the error of requests to a worker that its host closed. */
export function closedByHost(): ShuttingDown {
  return new ShuttingDown("this worker was closed; start another one");
}

/** Make the error of requests that were in flight when their host closed the worker. */
export function cutByClose(): RequestCancelled {
  return new RequestCancelled(
    "the worker was closed before it had answered; start another one and send the request again if you " +
      "still need the answer",
  );
}

/** Make the error of requests that were in flight when their host restarted the worker. */
export function cutByRestart(): WorkerCrashed {
  return new WorkerCrashed(
    "the worker was restarted before it had answered. Another process takes its place; no request is " +
      "sent again by itself",
  );
}

/** Make the error of requests that were in flight when their host killed the worker. */
export function cutByKill(): WorkerCrashed {
  return new WorkerCrashed(
    `the worker was killed by its host before it had answered. ${ADVICE_ALONE}`,
    { signal: "SIGKILL" },
  );
}

/** Describe an exit that nobody asked for. */
export function exited(status: Exit, at: Circumstances): Death {
  const how = `the worker ${describeExit(status)}`;
  if (at.greeting) {
    return noHandshake(
      `${how} before it answered hello${describeStrays(at.strayLines)}. Read its stderr, check that ` +
        "the command is a worker, or install one with `pip install 'mlxwire[mlx]'`",
      at,
      { exit_code: status.exitCode, signal: status.signal },
    );
  }
  return crash(how, at, status);
}

/** Make the error of a start whose hello was not answered in time. */
export function silentAtStart(ms: number, at: Circumstances): HandshakeFailed {
  return new HandshakeFailed(
    `the worker did not answer hello within ${ms} ms${describeStrays(at.strayLines)}. Check that the ` +
      "command is a worker, or give it a longer startTimeoutMs",
    { stderrTail: at.stderrTail },
  );
}

/**
 * Describe a worker that runs but closed one of its pipes, so that nothing can be said or heard.
 */
export function closedItsPipe(which: "stdin" | "stdout", at: Circumstances): Death {
  const how = `the worker closed its ${which} while it was still running`;
  return at.greeting
    ? noHandshake(`${how}, before it answered hello. Check that the command is a worker`, at)
    : crash(`${how}, and is ended for that`, at);
}

/** Describe a worker that runs but makes no progress; `verdict` is that of `Liveness`. */
export function hangs(verdict: string, at: Circumstances): Death {
  return crash(`the worker ${verdict}, and is ended for that`, at);
}

/** Describe a worker that broke the wire's rules; before the handshake the program is no worker. */
export function offended(offence: Error, at: Circumstances): Death {
  const { message } = offence;
  if (at.greeting) {
    const advice = "Check that the command is a worker, of a version that this client knows";
    return noHandshake(`${message}. ${advice}`, at);
  }
  const how = `${message}, and the worker is stopped for that`;
  const versions = "Client and worker may be of different versions";
  const { stderrTail } = at;
  return {
    how,
    error: ({ restarts }) =>
      new ProtocolViolation(`${how}. ${versions}. ${advice(restarts)}`, { stderrTail }),
  };
}

/** The crashes of one worker within its policy's window. */
export interface Crashes {
  readonly length: number;
  /** The number of crashes with requests in flight. */
  readonly serving: number;
}

/** Make the error of a worker that died too often; `how` is the last death, `last` its error. */
export function crashLoop(
  how: string,
  last: MlxwireError,
  crashes: Crashes,
  windowMs: number,
): WorkerCrashed {
  const status =
    last instanceof WorkerCrashed ? last : { exitCode: null, signal: null, inFlight: 0 };
  const verdict = new WorkerCrashed(
    `the worker died ${crashes.length} times within ${windowMs / 1000} s, ${crashes.serving} of them ` +
      "with requests in flight and the others at its start or idle, and is not started again. Find " +
      `the cause and call restart(). The last time: ${how}`,
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

/** Give an error that has no tail of stderr this one. */
export function withTail(error: MlxwireError, stderrTail: string): MlxwireError {
  if (error.stderrTail !== "") {
    return error;
  }
  return Object.defineProperty(error, "stderrTail", { value: stderrTail, enumerable: true });
}

function crash(how: string, { stderrTail }: Circumstances, status: Partial<Exit> = {}): Death {
  return {
    how,
    error: ({ restarts, poisonous }) => {
      const sentences = [how, advice(restarts), ...(poisonous ? [ADVICE_POISONOUS] : [])];
      return new WorkerCrashed(sentences.join(". "), {
        ...status,
        stderrTail,
        retryable: !poisonous,
      });
    },
  };
}

/** Describe an end before the handshake; another start would end the same way. */
function noHandshake(
  how: string,
  { stderrTail }: Circumstances,
  data: Readonly<Record<string, unknown>> = {},
): Death {
  return { how, error: () => new HandshakeFailed(how, { data, stderrTail }) };
}

function advice(restarts: boolean): string {
  return restarts ? ADVICE_WITH_RESTART : ADVICE_ALONE;
}

function describeExit({ exitCode, signal }: Exit): string {
  return signal === null ? `exited with code ${exitCode}` : `was ended by ${signal}`;
}

/** Describe the lines that came in place of an answer to hello, to follow a clause. */
function describeStrays(lines: readonly Buffer[]): string {
  const [first] = lines;
  if (first === undefined) {
    return "";
  }
  const shown = JSON.stringify(first.toString("utf8", 0, 200));
  return `, but wrote ${lines.length} other lines, the first ${shown}`;
}
