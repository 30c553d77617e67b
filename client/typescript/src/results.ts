/** The types of what requests give back. */

import type { MlxwireError } from "./errors.js";
import type { JsonObject } from "./wire/json.js";
import type * as replies from "./wire/replies.js";
import type { Shaped } from "./wire/shape.js";

/** Figures of one request: counts in tokens, times in seconds, memory in bytes (SPEC §5). */
export type RequestMetrics = Shaped<typeof replies.REQUEST_METRICS>;
/** Sums over the worker's life, and its state now (SPEC §4.7). */
export type WorkerMetrics = Shaped<typeof replies.WORKER_METRICS>;
/** What a worker said in the handshake: identity, capabilities and limits (SPEC §3). */
export type Hello = Shaped<typeof replies.HELLO>;
/** What a model is (SPEC §4.3). */
export type ModelInfo = Shaped<typeof replies.MODEL_INFO>;
/** What a `load` answered: all of `ModelInfo`, and `loadSeconds`. */
export type LoadResult = Shaped<typeof replies.LOAD>;
/** What a cancel reached; `outcome` is `accepted`, `finished` or `unknown` (SPEC §4.6). */
export type CancelOutcome = Shaped<typeof replies.CANCEL>;
/** The prompt cache's state, and what the action `affected` (SPEC §4.11). */
export type CacheStats = Shaped<typeof replies.CACHE>;
/** Memory in use and its limits, in bytes (SPEC §4.12). */
export type MemoryFigures = Shaped<typeof replies.MEMORY>;
/** How far a stage has come, in the stage's own unit. */
export type Progress = Shaped<typeof replies.PROGRESS>;

/** One of the likeliest tokens at a place; `logprob` is natural, null for minus infinity. */
export interface TopLogprob {
  /** Its text. */
  readonly text: string;
  /** Its id in the vocabulary. */
  readonly tokenId: number;
  /** Its natural log-probability. */
  readonly logprob: number | null;
}

/** One generated token, or text that was held back until the end (`flush`). */
export interface Token {
  /** Its place among the tokens of its request (or of its prompt, in a batch), from 0. */
  readonly seq: number;
  /** The text that it completes; may be empty. */
  readonly text: string;
  /** Its id in the vocabulary. */
  readonly tokenId: number;
  /** Whether it is held-back text, which is not counted as a token. */
  readonly flush: boolean;
  /** The prompt's place in a batch, else null. */
  readonly index: number | null;
  /** The channel of its text, such as thinking; null for plain text. */
  readonly channel: string | null;
  /** Its natural log-probability; null unless `logprobs` was asked for, and for minus infinity. */
  readonly logprob: number | null;
  /** The likeliest tokens in its place, likeliest first; null unless asked for. */
  readonly topLogprobs: readonly TopLogprob[] | null;
}

/** Why a stream ended; `cancelled` also where it was left. */
export type FinishReason = "stop" | "length" | "cancelled" | "tool_calls" | (string & {});

/** How a stream ended. */
export interface Done extends Omit<Shaped<typeof replies.DONE>, "finishReason"> {
  /** Why it ended. */
  readonly finishReason: FinishReason;
}

/** The likeliest next token of one prompt, with its natural `logprob`. */
export interface ClassifyItem extends Omit<Shaped<typeof replies.CLASSIFY_ITEM>, "token"> {
  /** The token's text. */
  readonly text: string;
}

/** One token of a batch that streams; `index` is its prompt's place. */
export interface BatchToken extends Token {
  /** What tells it from an item. */
  readonly type: "token";
}

/** What one prompt of a batch became. */
export interface BatchItem extends Shaped<typeof replies.BATCH_ITEM> {
  /** What tells it from a token. */
  readonly type: "item";
  /** This prompt's own failure, which costs the others nothing. */
  readonly error: MlxwireError | null;
}

/** The event `heartbeat`, which comes also while the worker computes, or hangs. */
export interface Heartbeat extends Shaped<typeof replies.HEARTBEAT> {
  /** Its name. */
  readonly event: "heartbeat";
}

/** An event of a name that this version does not know. */
export interface UnknownEvent {
  /** Always "other": events that are known have their own name here. */
  readonly event: "other";
  /** Its name on the wire. */
  readonly name: string;
  /** What it brings, as on the wire. */
  readonly data: JsonObject;
}

/** A message that the worker sent unasked. */
export type WorkerEvent = Heartbeat | UnknownEvent;
