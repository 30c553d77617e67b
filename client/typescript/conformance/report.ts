/** The driver's output: one scenario's outcome, in the names of tests/conformance/DRIVER.md. */
import { InvalidParams, MlxwireError, type TokenStream } from "../src/index.js";

export interface Failure {
  code: string;
  retryable: boolean;
  message: string;
  tokens_delivered: number;
}

export interface Following {
  outcome: "ok" | "error";
  text: string;
  error: Failure | null;
}

/** Give an error as data. An error of another kind has the code `untyped`, which no check accepts. */
export function describe(error: unknown, tokens: number, signal?: AbortSignal): Failure {
  const told = { retryable: false, message: String(error), tokens_delivered: tokens };
  if (error instanceof MlxwireError) {
    const { code, retryable, message, tokensDelivered } = error;
    return { code, retryable, message, tokens_delivered: tokensDelivered };
  }
  if (signal?.aborted && error === signal.reason) return { ...told, code: "cancelled" };
  return { ...told, code: "untyped" };
}

export class Report {
  outcome: "ok" | "error" = "ok";
  error: Failure | null = null;
  text = "";
  tokens = 0;
  finishReason: string | null = null;
  seconds = 0;
  closedSeconds = 0;
  workerPid: number | null = null;
  next: Following | null = null;
  /** The fields of this scenario alone. */
  readonly own: Record<string, unknown> = {};

  constructor(readonly scenario: string) {}

  /** Read a stream to its end, or until `enough` gives true; the rest is cancelled. */
  async read(
    stream: TokenStream,
    enough: (tokens: number) => boolean | Promise<boolean> = () => false,
  ): Promise<void> {
    for await (const token of stream) {
      this.text += token.text;
      this.tokens += 1;
      if (await enough(this.tokens)) return;
    }
    this.finishReason = (await stream.done).finishReason;
  }

  fail(error: unknown, signal?: AbortSignal): void {
    this.outcome = "error";
    this.error = describe(error, this.tokens, signal);
    if (error instanceof InvalidParams) this.own.field = error.field;
  }

  line(): string {
    return JSON.stringify({
      scenario: this.scenario,
      outcome: this.outcome,
      error: this.error,
      text: this.text,
      tokens: this.tokens,
      finish_reason: this.finishReason,
      seconds: this.seconds,
      closed_seconds: this.closedSeconds,
      worker_pid: this.workerPid,
      next: this.next,
      ...this.own,
    });
  }
}
