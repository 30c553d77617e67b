/** Every failure as an error: one tree under `MlxwireError`, one class for each code (SPEC §6). */

/** What an error is made with beside its message. */
export interface ErrorDetails {
  /** The code of SPEC §6; the class's own where it is left out. */
  readonly code?: string;
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable?: boolean;
  /** More about it, as SPEC §6 lists for each code. */
  readonly data?: Readonly<Record<string, unknown>>;
  /** The last that the worker wrote to stderr. */
  readonly stderrTail?: string;
  /** What led to it. */
  readonly cause?: unknown;
}

/** Anything that went wrong with a worker. A code that this version does not know is kept in it. */
export class MlxwireError extends Error {
  /** The code of the class; instances have their own in `code`. */
  static readonly code: string = "internal";
  /** Whether errors of the class are retryable unless they say otherwise. */
  static readonly retryable: boolean = false;

  /** One of SPEC §6, or of a later version. */
  readonly code: string;
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable: boolean;
  /** More about it, as SPEC §6 lists for each code. */
  readonly data: Readonly<Record<string, unknown>>;
  /** The last that the worker wrote to stderr, where that explains something. */
  readonly stderrTail: string;
  /** How many tokens the failed request had given before: sent again, it gives these again. */
  tokensDelivered = 0;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code ?? new.target.code;
    this.retryable = details.retryable ?? new.target.retryable;
    this.data = details.data ?? {};
    this.stderrTail = details.stderrTail ?? "";
  }

  /** The same failure for another request: each has its own stack and its own count of tokens. */
  copy(): this {
    const twin = Object.create(Object.getPrototypeOf(this)) as this;
    Object.defineProperties(twin, Object.getOwnPropertyDescriptors(this));
    twin.tokensDelivered = 0;
    return twin;
  }
}

/**
 * What a worker answers a request with, or this client in its place where it knows the answer. Its
 * subclasses are the codes of SPEC §6; a code that this version does not know is of this class.
 */
export class WorkerError extends MlxwireError {}

/** The worker could not read a line as JSON. */
export class ParseError extends WorkerError {
  static override readonly code = "parse_error";
}

/** A request was no request: bad id, missing command, hello said twice. */
export class InvalidRequest extends WorkerError {
  static override readonly code = "invalid_request";
}

/** A field of a request was wrong or unknown; `field` names it as the wire does. */
export class InvalidParams extends WorkerError {
  static override readonly code = "invalid_params";

  /** The wire's path to the field, such as `messages[0].content`; "" where none was named. */
  get field(): string {
    return typeof this.data.field === "string" ? this.data.field : "";
  }
}

/** The worker has no such command; a newer one may. */
export class UnknownCommand extends WorkerError {
  static override readonly code = "unknown_command";
}

/** A request came before the handshake. */
export class NotInitialized extends WorkerError {
  static override readonly code = "not_initialized";
}

/** Client and worker have no protocol version in common. */
export class UnsupportedProtocol extends WorkerError {
  static override readonly code = "unsupported_protocol";
}

/** The worker lacks something that was required; `data.missing` names it. */
export class UnsupportedCapability extends WorkerError {
  static override readonly code = "unsupported_capability";
}

/** A request's id was used before. */
export class DuplicateId extends WorkerError {
  static override readonly code = "duplicate_id";
}

/** A request's line passes the worker's limit; nothing was sent. */
export class MessageTooLarge extends WorkerError {
  static override readonly code = "message_too_large";
}

/** The worker has as many requests as it takes; send this one again later. */
export class Overloaded extends WorkerError {
  static override readonly code = "overloaded";
  static override readonly retryable = true;
}

/** The worker is closing, or was closed; start another. */
export class ShuttingDown extends WorkerError {
  static override readonly code = "shutting_down";
}

/** No model is loaded, or this one was closed or replaced. */
export class ModelNotLoaded extends WorkerError {
  static override readonly code = "model_not_loaded";
}

/** There is no model at that path. */
export class ModelNotFound extends WorkerError {
  static override readonly code = "model_not_found";
}

/** The model's files are there and can't be used. */
export class ModelLoadFailed extends WorkerError {
  static override readonly code = "model_load_failed";
}

/** The worker has no code for this kind of model. */
export class UnsupportedModel extends WorkerError {
  static override readonly code = "unsupported_model";
}

/** The prompt leaves no room in the context. */
export class ContextOverflow extends WorkerError {
  static override readonly code = "context_overflow";
}

/** The request needs more memory than there is. */
export class OutOfMemory extends WorkerError {
  static override readonly code = "out_of_memory";
  static override readonly retryable = true;
}

/** The worker's own deadline for the request passed. */
export class DeadlineExceeded extends WorkerError {
  static override readonly code = "deadline_exceeded";
}

/** A defect in the worker. */
export class InternalError extends WorkerError {
  static override readonly code = "internal";
}

/** The worker's program could not be found or started at all. */
export class SpawnFailed extends MlxwireError {
  static override readonly code = "spawn_failed";
}

/**
 * The program started and did not answer hello as a worker does, or exited instead: `data` has its
 * `exit_code` or `signal` then. Another start would do the same.
 */
export class HandshakeFailed extends MlxwireError {
  static override readonly code = "handshake_failed";
}

/** How a process ended: one of the two is null, both where it had to be ended. */
export interface Exit {
  /** What it exited with. */
  readonly exitCode: number | null;
  /** The signal that ended it, such as `SIGKILL`. */
  readonly signal: NodeJS.Signals | null;
}

/**
 * The worker died. Not `retryable` where it died so often that it is not started again, and, behind
 * a supervisor, where the same request was the only one in flight at the crash before too.
 */
export class WorkerCrashed extends MlxwireError implements Exit {
  static override readonly code = "worker_crashed";
  static override readonly retryable = true;

  /** What it exited with, where it did. */
  readonly exitCode: number | null;
  /** The signal that ended it, where one did. */
  readonly signal: NodeJS.Signals | null;
  /** How many requests it owed their final then: with 1 it was that request, or chance. */
  inFlight = 0;

  constructor(message: string, details: ErrorDetails & Partial<Exit> = {}) {
    const { exitCode = null, signal = null } = details;
    super(message, { data: { exit_code: exitCode, signal }, ...details });
    this.exitCode = exitCode;
    this.signal = signal;
  }
}

/** The caller's `timeoutMs` or `idleTimeoutMs` passed; the request was cancelled in the worker. */
export class RequestTimeout extends MlxwireError {
  static override readonly code = "timeout";
}

/** A cancelled request did not end in time; the worker may hang. Close it. */
export class DrainTimeout extends MlxwireError {
  static override readonly code = "drain_timeout";
}

/** A stream was not taken and passed its buffer. A worker that knows `window` waits instead. */
export class SlowConsumer extends MlxwireError {
  static override readonly code = "slow_consumer";
}

/**
 * Another call cancelled the request, such as `Worker.cancel`; whoever waited for all of it gets this.
 * A stream that is iterated ends instead, and its `done` tells.
 */
export class RequestCancelled extends MlxwireError {
  static override readonly code = "cancelled";
}

/** The worker broke the wire's rules; it was stopped. */
export class ProtocolViolation extends MlxwireError {
  static override readonly code = "protocol_violation";
}
