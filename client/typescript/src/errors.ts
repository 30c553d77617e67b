/** Every failure as an error: one tree under `MlxwireError`, one class for each code (SPEC §6). */

/** The parts of an error beside its message. */
export interface ErrorDetails {
  /** The code of SPEC §6; by default the code of the class. */
  readonly code?: string;
  /** True if the same request may succeed later, unchanged. */
  readonly retryable?: boolean;
  /** Further facts, as SPEC §6 lists them for each code. */
  readonly data?: Readonly<Record<string, unknown>>;
  /** The last lines that the worker wrote to stderr. */
  readonly stderrTail?: string;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/** Base of all errors of this client. An unknown code of a newer worker is kept in `code`. */
export class MlxwireError extends Error {
  /** The code of the class; instances have their own in `code`. */
  static readonly code: string = "internal";
  /** True if errors of the class are retryable unless they say otherwise. */
  static readonly retryable: boolean = false;

  /** The error code, from SPEC §6 or from a later version of it. */
  readonly code: string;
  /** True if the same request may succeed later, unchanged. */
  readonly retryable: boolean;
  /** Further facts, as SPEC §6 lists them for each code. */
  readonly data: Readonly<Record<string, unknown>>;
  /** The last lines that the worker wrote to stderr, if they may explain the error; else "". */
  readonly stderrTail: string;
  /**
   * The number of tokens that the failed request had delivered. If it is sent again, it delivers
   * them again.
   */
  tokensDelivered = 0;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code ?? new.target.code;
    this.retryable = details.retryable ?? new.target.retryable;
    this.data = details.data ?? {};
    this.stderrTail = details.stderrTail ?? "";
  }

  /** Copy the error for another request; the copy's `tokensDelivered` is 0. */
  copy(): this {
    const twin = Object.create(Object.getPrototypeOf(this)) as this;
    Object.defineProperties(twin, Object.getOwnPropertyDescriptors(this));
    twin.tokensDelivered = 0;
    return twin;
  }
}

/**
 * An error reply of the worker, or of this client in its place if the answer is known. Each
 * subclass has one code of SPEC §6; an error with an unknown code is of this class itself.
 */
export class WorkerError extends MlxwireError {}

/** The worker could not read a line as JSON. */
export class ParseError extends WorkerError {
  static override readonly code = "parse_error";
}

/** A line was JSON but no request: bad id, missing command, or a second hello. */
export class InvalidRequest extends WorkerError {
  static override readonly code = "invalid_request";
}

/** A field of a request was wrong or unknown; `field` names it as the wire does. */
export class InvalidParams extends WorkerError {
  static override readonly code = "invalid_params";

  /** The path of the field on the wire, such as `messages[0].content`; "" if none was named. */
  get field(): string {
    return typeof this.data.field === "string" ? this.data.field : "";
  }
}

/** The worker does not know the command; a newer worker may. */
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

/** The worker lacks a required capability; `data.missing` names it. */
export class UnsupportedCapability extends WorkerError {
  static override readonly code = "unsupported_capability";
}

/** A request's id was used before. */
export class DuplicateId extends WorkerError {
  static override readonly code = "duplicate_id";
}

/** A request's line is longer than the worker accepts; nothing was sent. */
export class MessageTooLarge extends WorkerError {
  static override readonly code = "message_too_large";
}

/** The worker has as many requests as it accepts; send this one again later. */
export class Overloaded extends WorkerError {
  static override readonly code = "overloaded";
  static override readonly retryable = true;
}

/** The worker is closing or was closed; start another one. */
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

/** The model's files exist and can't be used. */
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

/** The request needs more memory than is free. */
export class OutOfMemory extends WorkerError {
  static override readonly code = "out_of_memory";
  static override readonly retryable = true;
}

/** The worker's surroundings lack something for now: descriptors, threads, room on a disk. */
export class Unavailable extends WorkerError {
  static override readonly code = "unavailable";
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
 * The program started and exited, or did not answer hello as a worker does. After an exit `data`
 * has its `exit_code` or `signal`. Another start would fail the same way.
 */
export class HandshakeFailed extends MlxwireError {
  static override readonly code = "handshake_failed";
}

/**
 * The exit of a process: one of the two is null; both are null if the process could not be ended.
 */
export interface Exit {
  /** The exit code. */
  readonly exitCode: number | null;
  /** The signal that ended the process, such as `SIGKILL`. */
  readonly signal: NodeJS.Signals | null;
}

/**
 * The worker process died, or was ended because it hung. With the option `restart` the error is not
 * `retryable` if the worker was given up, or if the same request was the only one in flight at the
 * crash before too.
 */
export class WorkerCrashed extends MlxwireError implements Exit {
  static override readonly code = "worker_crashed";
  static override readonly retryable = true;

  /** The exit code; null if the process did not exit by itself. */
  readonly exitCode: number | null;
  /** The signal that ended the process; null if none did. */
  readonly signal: NodeJS.Signals | null;
  /** The number of requests in flight at the crash: if it is 1, that request may have caused it. */
  inFlight = 0;

  constructor(message: string, details: ErrorDetails & Partial<Exit> = {}) {
    const { exitCode = null, signal = null } = details;
    super(message, { data: { exit_code: exitCode, signal }, ...details });
    this.exitCode = exitCode;
    this.signal = signal;
  }
}

/**
 * The `timeoutMs` or `idleTimeoutMs` of a request passed; the request was cancelled in the worker.
 */
export class RequestTimeout extends MlxwireError {
  static override readonly code = "timeout";
}

/** The worker did not end a cancelled request within `drainTimeoutMs` and may hang; close it. */
export class DrainTimeout extends MlxwireError {
  static override readonly code = "drain_timeout";
}

/**
 * A stream outgrew its buffer because its consumer was slow. A worker with windows waits instead.
 */
export class SlowConsumer extends MlxwireError {
  static override readonly code = "slow_consumer";
}

/**
 * Another call, such as `Worker.cancel`, cancelled the request. Calls that wait for a whole answer
 * reject with this error; a stream that is iterated ends instead, and its `done` tells why.
 */
export class RequestCancelled extends MlxwireError {
  static override readonly code = "cancelled";
}

/** The worker broke the rules of the protocol and was stopped. */
export class ProtocolViolation extends MlxwireError {
  static override readonly code = "protocol_violation";
}
