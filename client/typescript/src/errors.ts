/** Every failure as an error: one tree under `MlxwireError`, one class for each code (SPEC §6). */

import type { Message } from "./options.js";
import type { Done } from "./results.js";

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

/** The parts of an `InvalidAnswer` beside those of any error. */
export interface AnswerDetails {
  /** The text of the answer. */
  readonly text?: string;
  /** The end of its stream. */
  readonly done?: Done;
}

/** Base of all errors of this client. An unknown code of a newer worker is kept in `code`. */
export class MlxwireError extends Error {
  /** The code of the class; instances have their own in `code`. */
  static readonly code: string = "internal";
  /** True if errors of the class are retryable unless they say otherwise. */
  static readonly retryable: boolean = false;
  static {
    MlxwireError.prototype.name = "MlxwireError";
  }

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
    this.code = details.code ?? new.target.code;
    this.retryable = details.retryable ?? new.target.retryable;
    this.data = details.data ?? {};
    this.stderrTail = details.stderrTail ?? "";
  }

  /** Copy the error for another caller, with that caller's stack; its `tokensDelivered` is 0. */
  copy(): this {
    const twin = Object.create(Object.getPrototypeOf(this)) as this;
    Object.defineProperties(twin, Object.getOwnPropertyDescriptors(this));
    twin.tokensDelivered = 0;
    Error.captureStackTrace(twin, twin.copy);
    return twin;
  }
}

/**
 * An error reply of the worker, or of this client in its place if the answer is known. Each
 * subclass has one code of SPEC §6; an error with an unknown code is of this class itself.
 */
export class WorkerError extends MlxwireError {
  static {
    WorkerError.prototype.name = "WorkerError";
  }
}

/** The worker could not read a line as JSON. */
export class ParseError extends WorkerError {
  static override readonly code = "parse_error";
  static {
    ParseError.prototype.name = "ParseError";
  }
}

/** A line was JSON but no request: bad id, missing command, or a second hello. */
export class InvalidRequest extends WorkerError {
  static override readonly code = "invalid_request";
  static {
    InvalidRequest.prototype.name = "InvalidRequest";
  }
}

/** An option or argument was wrong or unknown; `field` names it as its caller wrote it. */
export class InvalidParams extends WorkerError {
  static override readonly code = "invalid_params";
  static {
    InvalidParams.prototype.name = "InvalidParams";
  }

  /** The option or argument, such as `maxTokens` or `messages[0].content`; "" if none was named. */
  readonly field: string;

  constructor(message: string, details: ErrorDetails & { readonly field?: string } = {}) {
    super(message, details);
    const { field } = this.data; // as on the wire
    this.field = details.field ?? (typeof field === "string" ? field : "");
  }
}

/** The worker does not know the command; a newer worker may. */
export class UnknownCommand extends WorkerError {
  static override readonly code = "unknown_command";
  static {
    UnknownCommand.prototype.name = "UnknownCommand";
  }
}

/** A request came before the handshake. */
export class NotInitialized extends WorkerError {
  static override readonly code = "not_initialized";
  static {
    NotInitialized.prototype.name = "NotInitialized";
  }
}

/** Client and worker have no protocol version in common. */
export class UnsupportedProtocol extends WorkerError {
  static override readonly code = "unsupported_protocol";
  static {
    UnsupportedProtocol.prototype.name = "UnsupportedProtocol";
  }
}

/** The worker lacks a required capability; `data.missing` names it. */
export class UnsupportedCapability extends WorkerError {
  static override readonly code = "unsupported_capability";
  static {
    UnsupportedCapability.prototype.name = "UnsupportedCapability";
  }
}

/** A request's id was used before. */
export class DuplicateId extends WorkerError {
  static override readonly code = "duplicate_id";
  static {
    DuplicateId.prototype.name = "DuplicateId";
  }
}

/** A request's line is longer than the worker accepts; nothing was sent. */
export class MessageTooLarge extends WorkerError {
  static override readonly code = "message_too_large";
  static {
    MessageTooLarge.prototype.name = "MessageTooLarge";
  }
}

/** The worker has as many requests as it accepts; send this one again later. */
export class Overloaded extends WorkerError {
  static override readonly code = "overloaded";
  static override readonly retryable = true;
  static {
    Overloaded.prototype.name = "Overloaded";
  }
}

/** The worker is closing or was closed; start another one. */
export class ShuttingDown extends WorkerError {
  static override readonly code = "shutting_down";
  static {
    ShuttingDown.prototype.name = "ShuttingDown";
  }
}

/** No model is loaded, or this one was closed or replaced. */
export class ModelNotLoaded extends WorkerError {
  static override readonly code = "model_not_loaded";
  static {
    ModelNotLoaded.prototype.name = "ModelNotLoaded";
  }
}

/** There is no model at that path. */
export class ModelNotFound extends WorkerError {
  static override readonly code = "model_not_found";
  static {
    ModelNotFound.prototype.name = "ModelNotFound";
  }
}

/** The model's files exist and can't be used. */
export class ModelLoadFailed extends WorkerError {
  static override readonly code = "model_load_failed";
  static {
    ModelLoadFailed.prototype.name = "ModelLoadFailed";
  }
}

/** The worker has no code for this kind of model. */
export class UnsupportedModel extends WorkerError {
  static override readonly code = "unsupported_model";
  static {
    UnsupportedModel.prototype.name = "UnsupportedModel";
  }
}

/** The prompt leaves no room in the context. */
export class ContextOverflow extends WorkerError {
  static override readonly code = "context_overflow";
  static {
    ContextOverflow.prototype.name = "ContextOverflow";
  }
}

/** The request needs more memory than is free. */
export class OutOfMemory extends WorkerError {
  static override readonly code = "out_of_memory";
  static override readonly retryable = true;
  static {
    OutOfMemory.prototype.name = "OutOfMemory";
  }
}

/** The worker's surroundings lack something for now: descriptors, threads, room on a disk. */
export class Unavailable extends WorkerError {
  static override readonly code = "unavailable";
  static override readonly retryable = true;
  static {
    Unavailable.prototype.name = "Unavailable";
  }
}

/** A training diverged, or its process ended; `data.checkpoint` is the last good checkpoint, if any. */
export class TrainingFailed extends WorkerError {
  static override readonly code = "training_failed";
  static {
    TrainingFailed.prototype.name = "TrainingFailed";
  }
}

/** The worker's own deadline for the request passed. */
export class DeadlineExceeded extends WorkerError {
  static override readonly code = "deadline_exceeded";
  static {
    DeadlineExceeded.prototype.name = "DeadlineExceeded";
  }
}

/** A defect in the worker. */
export class InternalError extends WorkerError {
  static override readonly code = "internal";
  static {
    InternalError.prototype.name = "InternalError";
  }
}

/** The worker's program could not be found or started at all. */
export class SpawnFailed extends MlxwireError {
  static override readonly code = "spawn_failed";
  static {
    SpawnFailed.prototype.name = "SpawnFailed";
  }
}

/**
 * The program started and exited, or did not answer hello as a worker does. After an exit `data`
 * has its `exit_code` or `signal`. Another start would fail the same way.
 */
export class HandshakeFailed extends MlxwireError {
  static override readonly code = "handshake_failed";
  static {
    HandshakeFailed.prototype.name = "HandshakeFailed";
  }
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
  static {
    WorkerCrashed.prototype.name = "WorkerCrashed";
  }

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
  static {
    RequestTimeout.prototype.name = "RequestTimeout";
  }
}

/** The worker did not end a cancelled request within `drainTimeoutMs` and may hang; close it. */
export class DrainTimeout extends MlxwireError {
  static override readonly code = "drain_timeout";
  static {
    DrainTimeout.prototype.name = "DrainTimeout";
  }
}

/**
 * A stream outgrew its buffer because its consumer was slow. A worker with windows waits instead.
 */
export class SlowConsumer extends MlxwireError {
  static override readonly code = "slow_consumer";
  static {
    SlowConsumer.prototype.name = "SlowConsumer";
  }
}

/**
 * The stream's own `cancel`, or another call such as `Worker.cancel` or `Worker.close`, cancelled the
 * request: what was delivered is not the whole answer. The stream's `done` tells how it ended.
 */
export class RequestCancelled extends MlxwireError {
  static override readonly code = "cancelled";
  static {
    RequestCancelled.prototype.name = "RequestCancelled";
  }
}

/** The worker broke the rules of the protocol and was stopped. */
export class ProtocolViolation extends MlxwireError {
  static override readonly code = "protocol_violation";
  static {
    ProtocolViolation.prototype.name = "ProtocolViolation";
  }
}

/** A typed answer was cut off before its JSON was whole, or its schema does not accept it. */
export class InvalidAnswer extends MlxwireError {
  static override readonly code = "invalid_answer";
  static {
    InvalidAnswer.prototype.name = "InvalidAnswer";
  }

  /** The text of the answer. */
  readonly text: string;
  /** The end of its stream; `complete` is false if the answer was cut off. */
  readonly done: Done | null;

  constructor(message: string, details: ErrorDetails & AnswerDetails = {}) {
    super(message, details);
    this.text = details.text ?? "";
    this.done = details.done ?? null;
  }
}

/** An answer with which `runTools` could not go on, and the conversation for another run. */
class EndedRun extends InvalidAnswer {
  readonly messages: readonly Message[];

  constructor(
    message: string,
    details: ErrorDetails & AnswerDetails & { readonly messages?: readonly Message[] } = {},
  ) {
    super(message, details);
    this.messages = details.messages ?? [];
  }
}

/** The model still called tools after the `maxRounds` of `runTools`. */
export class TooManyRounds extends EndedRun {
  static {
    TooManyRounds.prototype.name = "TooManyRounds";
  }

  /** The conversation so far, with the results of all calls; a further run can go on with it. */
  declare readonly messages: readonly Message[];
}

/** `maxTokens` cut a tool call of `runTools`; no function of that answer was run. */
export class CallCutOff extends EndedRun {
  static {
    CallCutOff.prototype.name = "CallCutOff";
  }

  /** The conversation before the answer, for another run with more `maxTokens`. */
  declare readonly messages: readonly Message[];
}
