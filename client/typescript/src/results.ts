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

/** An adapter that requests may name; `rank` and `scale` are the largest of its modules (SPEC §4.16). */
export type AdapterInfo = Shaped<typeof replies.ADAPTER_INFO>;
/**
 * One report of a training: `loss` is the mean of the steps since the last report, `validationLoss`
 * null where none was computed; `tokens` and `seconds` count from the start.
 */
export type TrainProgress = Shaped<typeof replies.TRAIN_PROGRESS>;
/** The end of a training: the folder of its `adapter`, and losses, which are in nats. */
export type TrainResult = Shaped<typeof replies.TRAIN>;
/** The mean loss over target tokens, in nats, and its exponential. */
export type EvaluateResult = Shaped<typeof replies.EVALUATE>;

/**
 * The prompt that a conversation becomes, as text and as `count` token `ids`; `answerStart` is where the
 * tokens begin that ask for an answer.
 */
export type Rendered = Shaped<typeof replies.RENDER>;
/** The tokens of one message of a prompt: `count` of them, from `start` on. */
export type RenderedMessage = Shaped<typeof replies.RENDERED_MESSAGE>;
/**
 * The memory that a model needs, and `availableBytes`, what the process may use. `contextLen`,
 * `parallelSlots`, `computeDtype` and `kvBits` (0: not quantized) are those that the figures are for
 * (SPEC §4.24).
 */
export type FitResult = Shaped<typeof replies.FIT>;
/** An adapter's folder beside a model or below it; `format` is `mlx` or `peft`. */
export type FoundAdapter = Shaped<typeof replies.FOUND_ADAPTER>;

/** A model on disk, as its files describe it; `path` is absolute, and `load` takes it (SPEC §4.23). */
export interface FoundModel extends Shaped<typeof replies.FOUND_MODEL> {
  /** Always null; a `BrokenModel` has an error here. */
  readonly error: null;
}

/** A folder that looks like a model, and that `load` would refuse. */
export interface BrokenModel extends Shaped<typeof replies.BROKEN_MODEL> {
  /** The error that `load` would give. */
  readonly error: MlxwireError;
}

/** The vector of one text. */
export interface Embedding {
  /** The place of the text. */
  readonly index: number;
  /** The numbers; empty if the text failed. */
  readonly vector: Float32Array;
  /** The number of the text's tokens. */
  readonly tokens: number;
  /** The failure of this text, which does not disturb the others; null if it succeeded. */
  readonly error: MlxwireError | null;
}

/**
 * The natural log-probabilities of one text's tokens, given those before them: null for the first, and
 * for a probability of 0. `perplexity` is null for a single token, or if it is infinite.
 */
export interface ScoreItem extends Shaped<typeof replies.SCORE_ITEM> {
  /** The failure of this text, which does not disturb the others; null if it succeeded. */
  readonly error: MlxwireError | null;
}

/** A document of a `rerank`, with its place among those given. */
export interface RankedDocument extends Shaped<typeof replies.RANKED> {
  /** The text of the document. */
  readonly document: string;
}

/** One of the likeliest tokens at one place of a text. */
export interface TopLogprob {
  /** The text of the token. */
  readonly text: string;
  /** The id of the token in the vocabulary. */
  readonly tokenId: number;
  /** The natural log-probability; null for minus infinity. */
  readonly logprob: number | null;
}

/** A part of a tool call: first its `callId` and `name`, then fragments of its `arguments`. */
export interface ToolCallPart {
  /** The place of the call among those of the answer. */
  readonly index: number;
  /** The id of the call; null but in its first part. */
  readonly callId: string | null;
  /** The name of the tool; null but in the call's first part. */
  readonly name: string | null;
  /** A fragment of the JSON of the arguments; may be empty. */
  readonly arguments: string;
}

/**
 * A complete tool call. `arguments` is the text of a JSON object; `argumentsError` tells why it does not
 * fit the tool's parameters, and is null if it does.
 */
export type ToolCall = Shaped<typeof replies.TOOL_CALL>;
/** A tool call that did not become whole, and the text that the model wrote of it. */
export type ToolError = Shaped<typeof replies.TOOL_ERROR>;

/** One generated token, text that was held back (`flush`), or a part of a tool call. */
export interface Token {
  /** The place among the tokens of the request (in a batch: of the prompt), from 0. */
  readonly seq: number;
  /** The text that the token completes; may be empty. */
  readonly text: string;
  /** The id of the token in the vocabulary; -1 for a part of a tool call. */
  readonly tokenId: number;
  /** True for held-back text and for parts of tool calls, which do not count as tokens. */
  readonly flush: boolean;
  /** The place of the prompt in a batch; null outside of batches. */
  readonly index: number | null;
  /** The channel of the text, such as thinking; null for plain text. */
  readonly channel: string | null;
  /** The natural log-probability; null without the option `logprobs`, and for minus infinity. */
  readonly logprob: number | null;
  /** The likeliest tokens at this place, likeliest first; null without the option `topLogprobs`. */
  readonly topLogprobs: readonly TopLogprob[] | null;
  /** A part of a tool call, whose `text` here is empty; null for all other tokens. */
  readonly toolCall: ToolCallPart | null;
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
  /** The text of the token; empty if the prompt failed, and `tokenId` is then -1. */
  readonly text: string;
  /** The likeliest of the labels; null without any. */
  readonly label: string | null;
  /** The failure of this prompt, which does not disturb the others; null if it succeeded. */
  readonly error: MlxwireError | null;
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
