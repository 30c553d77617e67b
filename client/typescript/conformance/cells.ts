/** What a cell of tests/conformance/DRIVER.md is, and what all kinds of cells share. */
import {
  type BatchOptions,
  type BatchStream,
  type ClassifyStream,
  type EmbeddingStream,
  MlxwireError,
  type Model,
  type ScoreStream,
  type StreamOptions,
  type TokenStream,
  Worker,
  type WorkerOptions,
} from "../src/index.js";

/** One line of stdin: what to do, and with which request. */
export interface Cell {
  readonly cell: string;
  readonly do: string;
  readonly command: string;
  readonly prompt: string;
  readonly prompts: readonly string[];
  readonly cause: string;
  readonly phase: string;
  readonly pause_after: number;
  readonly collect?: boolean;
  /** Whether a batch streams its tokens. */
  readonly stream?: boolean;
  /** Whether the request has a tool. */
  readonly tools?: boolean;
  readonly end: string;
  /** The script of the request beside, or the options beside. */
  readonly beside: unknown;
  readonly of: string;
  readonly option: string | null;
  readonly value: number | "nan" | "inf" | null;
  readonly worker: "mock" | "obedient";
  readonly policy: Readonly<Record<string, number>>;
  readonly crashes: number;
}

/** The tool of a cell's request. */
export const ADD = { type: "function", function: { name: "add" } } as const;

/** One line of stdout, without the name of its cell. */
export type Answer = Record<string, unknown>;

/** Describe how an operation ended; `own` is the reason of the caller's signal. */
export function outcomeOf(error: unknown, own?: unknown): Answer {
  if (error === undefined) return { outcome: "ok" };
  if (error instanceof MlxwireError) return { outcome: error.code, message: error.message };
  if (own !== undefined && error === own) return { outcome: "own", message: String(error) };
  return { outcome: "untyped", message: String(error) };
}

/** Wait for an operation; give the error that it ended with, or undefined. */
export async function ended(operation: Promise<unknown>): Promise<unknown> {
  try {
    await operation;
    return undefined;
  } catch (error) {
    return error ?? new Error("it rejected with nothing");
  }
}

/** Start a worker, load its model, use both, and close the worker. */
export async function withWorker(
  options: WorkerOptions,
  use: (worker: Worker, model: Model) => Promise<Answer>,
): Promise<Answer> {
  const worker = await Worker.start(options);
  try {
    return await use(worker, await worker.load("mock"));
  } finally {
    await worker.close();
  }
}

/** Make the stream of a cell's request; nothing is sent yet. */
export function streamOf(
  model: Model,
  cell: Cell,
  options: BatchOptions = {},
): TokenStream | ManyStream {
  const { command } = cell;
  if (command === "batch" || command === "classify") return model[command](cell.prompts, options);
  if (command === "embed" || command === "score") {
    return model[command](cell.prompts, options as StreamOptions);
  }
  return command === "chat"
    ? model.chat(cell.prompt, options)
    : model.generate(cell.prompt, options);
}

/** A stream with an item for each of many prompts or texts. */
export type ManyStream = BatchStream | ClassifyStream | EmbeddingStream | ScoreStream;

/** Wait until the client has read all that the worker sent before, or its death. */
export async function received(worker: Worker): Promise<void> {
  await ended(worker.metrics());
}
