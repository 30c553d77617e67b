/** The types of what requests give back. */

import type { MlxwireError } from "./errors.js";
import type { JsonObject } from "./wire/json.js";
import type * as replies from "./wire/replies.js";
import type { Shaped } from "./wire/shape.js";

/** The metrics of one request: counts in tokens, times in seconds, memory in bytes (SPEC §5). */
export type RequestMetrics = Shaped<typeof replies.REQUEST_METRICS>;
/** Sums over the life of the worker process, and its present state (SPEC §4.7). */
export type WorkerMetrics = Shaped<typeof replies.WORKER_METRICS>;
/** The worker's answer to hello: identity, capabilities and limits (SPEC §3). */
export type Hello = Shaped<typeof replies.HELLO>;
/** The description of a model (SPEC §4.3). */
export type ModelInfo = Shaped<typeof replies.MODEL_INFO>;
/** The answer to a `load`: all of `ModelInfo`, `loadSeconds`, and `warnings` about its options. */
export type LoadResult = Shaped<typeof replies.LOAD>;
/**
 * The tokens of a text or of a conversation: their `ids`, their `count`, and as `pieces` the text of
 * each. `ids` and `pieces` are null with the option `countOnly` (SPEC §4.13).
 */
export type Tokenized = Shaped<typeof replies.TOKENIZE>;
/**
 * The file of an `inspect`: for each of `layers` it has `layers.N.queries`, `queryHeads` × `tokens` ×
 * `headDim`, and `layers.N.keys`, `heads` × `tokens` × `headDim`, both float32 safetensors.
 */
export type Inspected = Shaped<typeof replies.INSPECT>;
/** The effect of a cancel; `outcome` is `accepted`, `finished` or `unknown` (SPEC §4.6). */
export type CancelOutcome = Shaped<typeof replies.CANCEL>;
/** The state of the prompt cache, and how much the action `affected` (SPEC §4.11). */
export type CacheStats = Shaped<typeof replies.CACHE>;
/** Memory in use and its limits, in bytes (SPEC §4.12). */
export type MemoryFigures = Shaped<typeof replies.MEMORY>;
/** The progress of a stage (SPEC §5 lists them): `done` of `total`, in the stage's own unit. */
export type Progress = Shaped<typeof replies.PROGRESS>;

/** One of the likeliest tokens at one place of a text. */
export interface TopLogprob {
  /** The text of the token. */
  readonly text: string;
  /** The id of the token in the vocabulary. */
  readonly tokenId: number;
  /** The natural log-probability; null for minus infinity. */
  readonly logprob: number | null;
}

/** One generated token, or text that was held back until the end (`flush`). */
export interface Token {
  /** The place among the tokens of the request (in a batch: of the prompt), from 0. */
  readonly seq: number;
  /** The text that the token completes; may be empty. */
  readonly text: string;
  /** The id of the token in the vocabulary. */
  readonly tokenId: number;
  /** True for held-back text, which does not count as a token. */
  readonly flush: boolean;
  /** The place of the prompt in a batch; null outside of batches. */
  readonly index: number | null;
  /** The channel of the text, such as thinking; null for plain text. */
  readonly channel: string | null;
  /** The natural log-probability; null without the option `logprobs`, and for minus infinity. */
  readonly logprob: number | null;
  /** The likeliest tokens at this place, likeliest first; null without the option `topLogprobs`. */
  readonly topLogprobs: readonly TopLogprob[] | null;
}

/** Why a stream ended; `cancelled` also if its consumer left it. */
export type FinishReason = "stop" | "length" | "cancelled" | "tool_calls" | (string & {});

/** The end of a stream. */
export interface Done extends Omit<Shaped<typeof replies.DONE>, "finishReason"> {
  /** Why the stream ended. */
  readonly finishReason: FinishReason;
}

/** The likeliest next token of one prompt, with its natural `logprob`. */
export interface ClassifyItem extends Omit<Shaped<typeof replies.CLASSIFY_ITEM>, "token"> {
  /** The text of the token. */
  readonly text: string;
}

/** One token of a batch with the option `stream`; `index` is the place of its prompt. */
export interface BatchToken extends Token {
  /** Tells a token from an item. */
  readonly type: "token";
}

/** The answer to one prompt of a batch. */
export interface BatchItem extends Shaped<typeof replies.BATCH_ITEM> {
  /** Tells an item from a token. */
  readonly type: "item";
  /** The failure of this prompt, which does not disturb the others; null if it succeeded. */
  readonly error: MlxwireError | null;
}

/** The event `heartbeat`. It comes also while the worker computes or hangs. */
export interface Heartbeat extends Shaped<typeof replies.HEARTBEAT> {
  /** The name of the event. */
  readonly event: "heartbeat";
}

/** An event that this version does not know. */
export interface UnknownEvent {
  /** Always "other"; a known event has its own name here. */
  readonly event: "other";
  /** The name of the event on the wire. */
  readonly name: string;
  /** The data of the event, as on the wire. */
  readonly data: JsonObject;
}

/** A message that the worker sends without a request. */
export type WorkerEvent = Heartbeat | UnknownEvent;
