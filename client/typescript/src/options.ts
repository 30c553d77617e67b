/** The options of requests, by their names in JavaScript; `wireFields.ts` puts them on the wire. */

import type { Progress } from "./results.js";

/** A folder or a file: a path, or a `file:` URL. */
export type Path = string | URL;

/** One turn of a conversation. */
export interface Message {
  /** `system`, `user`, `assistant`, or what else the model's template knows. */
  readonly role: string;
  /** What was said. */
  readonly content: string;
}

/** Of every call. */
export interface CallOptions {
  /** Milliseconds that it may take in all; then it fails with `RequestTimeout`. */
  readonly timeoutMs?: number | undefined;
  /** Cancels it in the worker, and fails it with the signal's own reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Of every call that streams. */
export interface StreamOptions extends CallOptions {
  /** Milliseconds without a message while somebody waits for one; then it fails likewise. */
  readonly idleTimeoutMs?: number | undefined;
  /** Hears how far the prompt, or another stage, has come. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** How tokens are chosen and when to stop (SPEC §4.4). What is left out is the worker's default. */
export interface SamplingOptions {
  /** Tokens at most: 256. */
  readonly maxTokens?: number | undefined;
  /** 0, the default, is greedy. */
  readonly temperature?: number | undefined;
  /** Only the likeliest so many; 0 is off. */
  readonly topK?: number | undefined;
  /** Only the likeliest that have this probability together; 0 and 1 are off. */
  readonly topP?: number | undefined;
  /** Only those with this part of the likeliest one's probability. */
  readonly minP?: number | undefined;
  /** Makes tokens that were generated before less likely; 0 and 1 are off. */
  readonly repeatPenalty?: number | undefined;
  /** The same request with the same seed gives the same tokens. */
  readonly seed?: number | null | undefined;
  /** Strings before which the text ends. */
  readonly stop?: string | readonly string[] | undefined;
  /** Token ids that end the text, beside the model's own. */
  readonly stopTokens?: readonly number[] | undefined;
  /** Go on past the model's own end of text. */
  readonly ignoreEos?: boolean | undefined;
  /** No end of text before so many tokens. */
  readonly minTokens?: number | undefined;
  /** With this probability leave out the likeliest tokens above the threshold. */
  readonly xtcProbability?: number | undefined;
  /** See `xtcProbability`; at most 0.5. */
  readonly xtcThreshold?: number | undefined;
  /** Subtracted once from a generated token's logit. */
  readonly presencePenalty?: number | undefined;
  /** Subtracted from a generated token's logit for each time that it occurred. */
  readonly frequencyPenalty?: number | undefined;
  /** How many of the last tokens the penalties count over; 0 is all. */
  readonly penaltyWindow?: number | undefined;
  /** Token ids and what is added to their logits. */
  readonly logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number> | undefined;
  /** Each token brings its log-probability. */
  readonly logprobs?: boolean | undefined;
  /** So many of the likeliest tokens with theirs; needs `logprobs`. */
  readonly topLogprobs?: number | undefined;
  /** False computes the prompt anew. */
  readonly cache?: boolean | undefined;
  /** The worker's own deadline, from the request's arrival; ends in `DeadlineExceeded`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** The options of `Model.generate`. */
export interface GenerateOptions extends SamplingOptions, StreamOptions {}

/** The options of `Model.chat`. */
export interface ChatOptions extends GenerateOptions {
  /** The chat template's switch; left out, the template's own default. */
  readonly thinking?: boolean | undefined;
  /** Honour control tokens that are written in messages; else they are plain text: false. */
  readonly specialTokens?: boolean | undefined;
}

/** The options of `Model.batch`. */
export interface BatchOptions extends GenerateOptions {
  /** Bring each token as it comes, with the `index` of its prompt: false. */
  readonly stream?: boolean | undefined;
}

/** The options of `Model.classify` (SPEC §4.5). */
export interface ClassifyOptions extends StreamOptions {
  /** Each result has the raw row over the vocabulary. */
  readonly logits?: boolean | undefined;
  /** Each result has the probability of each of these continuations. */
  readonly labels?: readonly string[] | undefined;
  /** As in `SamplingOptions`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** What a model is loaded with (SPEC §4.1). */
export interface LoadFields {
  /** Tokens of prompt and answer together. */
  readonly contextLen?: number | null | undefined;
  /** A LoRA adapter's folder. */
  readonly adapterPath?: Path | null | undefined;
  /** Sequences that are computed at once. */
  readonly parallelSlots?: number | null | undefined;
  /** Compile before the load ends, so that the first request is fast: true. */
  readonly warmup?: boolean | undefined;
  /** What becomes of a text that passes the context. */
  readonly contextPolicy?: "refuse" | "rotate" | undefined;
  /** Keys and values in so many bits. */
  readonly kvBits?: 2 | 3 | 4 | 6 | 8 | null | undefined;
  /** In groups of so many. */
  readonly kvGroupSize?: 32 | 64 | 128 | undefined;
  /** Bytes, as in `MemoryFields`. */
  readonly memoryLimit?: number | null | undefined;
  /** Bytes, likewise. */
  readonly promptCacheLimit?: number | null | undefined;
  /** How long one slice of a prompt may hold up the streams beside it. */
  readonly prefillSeconds?: number | undefined;
}

/** The options of `Worker.load`. */
export interface LoadOptions extends LoadFields, CallOptions {
  /** Hears how far the load has come. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Limits of memory to set, in bytes (SPEC §4.12). */
export interface MemoryFields {
  /** 0 is none at all. */
  readonly memoryLimit?: number | null | undefined;
  /** 0 keeps nothing. */
  readonly promptCacheLimit?: number | null | undefined;
  /** Buffers kept for reuse. */
  readonly bufferLimit?: number | null | undefined;
  /** Memory that may not be paged out. */
  readonly wiredLimit?: number | null | undefined;
  /** Give back the buffers that are kept. */
  readonly clear?: boolean | undefined;
}

/** The options of `Worker.memory`. */
export interface MemoryOptions extends MemoryFields, CallOptions {}
