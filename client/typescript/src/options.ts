/** The options of requests, by their names in JavaScript; `wire/wireFields.ts` translates them. */

import type { Progress } from "./results.js";

/** A path of a folder or file, or its `file:` URL. */
export type Path = string | URL;

/** One turn of a conversation. */
export interface Message {
  /** `system`, `user`, `assistant`, or another role of the model's template. */
  readonly role: string;
  /** The text of the turn. */
  readonly content: string;
}

/** Options of every call; they stay in this client. */
export interface CallOptions {
  /**
   * Milliseconds that the call may take in all; after that it rejects with `RequestTimeout`. 0 leaves
   * no time; left out, there is no limit.
   */
  readonly timeoutMs?: number | undefined;
  /** Cancels the request in the worker; the call rejects with the signal's own reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of every call that streams; they stay in this client. */
export interface StreamOptions extends CallOptions {
  /**
   * Milliseconds without a message while the consumer waits; then the stream rejects with
   * `RequestTimeout`. 0 means no limit, even if the worker has one for all its streams.
   */
  readonly idleTimeoutMs?: number | undefined;
  /** Called with the progress of the prompt or of another stage. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/**
 * The choice of tokens and the end of the text (SPEC §4.4). An option left out has the worker's default.
 */
export interface SamplingOptions {
  /** The most tokens to generate: 256. */
  readonly maxTokens?: number | undefined;
  /** The sampling temperature; 0, the default, is greedy. */
  readonly temperature?: number | undefined;
  /** Sample among this many likeliest tokens; 0 is off. */
  readonly topK?: number | undefined;
  /** Sample among the likeliest tokens with this probability together; 0 and 1 are off. */
  readonly topP?: number | undefined;
  /** Sample among tokens with at least this part of the likeliest token's probability. */
  readonly minP?: number | undefined;
  /** Makes generated tokens less likely to come again; 0 and 1 are off. */
  readonly repeatPenalty?: number | undefined;
  /** The seed of sampling: the same request with the same seed gives the same tokens. */
  readonly seed?: number | null | undefined;
  /** Strings that end the text; they are not part of it. */
  readonly stop?: string | readonly string[] | undefined;
  /** Token ids that end the text, in addition to the model's own. */
  readonly stopTokens?: readonly number[] | undefined;
  /** Continue past the model's own end of text. */
  readonly ignoreEos?: boolean | undefined;
  /** The least number of tokens before the text may end. */
  readonly minTokens?: number | undefined;
  /** The probability of leaving out all but the least likely token above `xtcThreshold`. */
  readonly xtcProbability?: number | undefined;
  /** The probability that makes a token a candidate for `xtcProbability`; at most 0.5. */
  readonly xtcThreshold?: number | undefined;
  /** Subtracted once from the logit of each token that was generated before. */
  readonly presencePenalty?: number | undefined;
  /** Subtracted from the logit of a token for each time that it was generated before. */
  readonly frequencyPenalty?: number | undefined;
  /** The number of last tokens that the penalties look at; 0 is all. */
  readonly penaltyWindow?: number | undefined;
  /** Added to the logits of these token ids. */
  readonly logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number> | undefined;
  /** Give each token its log-probability. */
  readonly logprobs?: boolean | undefined;
  /** Give each token this many likeliest tokens with their log-probabilities; needs `logprobs`. */
  readonly topLogprobs?: number | undefined;
  /** Reuse what earlier prompts computed: true. */
  readonly cache?: boolean | undefined;
  /**
   * The form that the text must have, as in OpenAI's interface: `{ type: "json_object" }`, or the
   * type `json_schema`, `regex` or `grammar`. Its fields are those of the protocol.
   */
  readonly responseFormat?: Readonly<Record<string, unknown>> | null | undefined;
  /** Seconds from the request's arrival after which the worker ends it with `DeadlineExceeded`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** The options of `Model.generate`. */
export interface GenerateOptions extends SamplingOptions, StreamOptions {}

/** The options of `Model.chat`. */
export interface ChatOptions extends GenerateOptions {
  /**
   * The switch for thinking in the chat template; left out, the template's own default. A model
   * without the capability `thinking` refuses it.
   */
  readonly thinking?: boolean | undefined;
  /** Read control tokens in messages as such, not as plain text: false. */
  readonly specialTokens?: boolean | undefined;
}

/** The options of `Model.batch`. */
export interface BatchOptions extends GenerateOptions {
  /** Also give each token as it comes, with the `index` of its prompt: false. */
  readonly stream?: boolean | undefined;
}

/** The options of `Model.classify` (SPEC §4.5). */
export interface ClassifyOptions
  extends StreamOptions,
    Pick<SamplingOptions, "temperature" | "topK" | "topP" | "minP" | "seed"> {
  /** Give each item the raw row of logits over the vocabulary. */
  readonly logits?: boolean | undefined;
  /** Give each item the probability of each of these continuations. */
  readonly labels?: readonly string[] | undefined;
  /** The deadline, as in `SamplingOptions`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** The options of `Model.inspect` (SPEC §4.15). */
export interface InspectOptions extends CallOptions {
  /** The numbers of layers with attention, counted from 0: all. */
  readonly layers?: readonly number[] | undefined;
}

/** The options of `Model.tokenize` (SPEC §4.13). */
export interface TokenizeOptions extends CallOptions {
  /**
   * Begin with the model's opening token, and read control tokens in the text as such: true. False
   * leaves out the opening token and reads them as plain text.
   */
  readonly specialTokens?: boolean | undefined;
  /** Give the number of tokens alone: false. */
  readonly countOnly?: boolean | undefined;
}

/** The options of `Model.tokenizeChat` (SPEC §4.13). */
export interface TokenizeChatOptions extends CallOptions {
  /** The switch for thinking, as in `ChatOptions`. */
  readonly thinking?: boolean | undefined;
  /** Read control tokens in messages as such, as in `ChatOptions`: false. */
  readonly specialTokens?: boolean | undefined;
  /** Give the number of tokens alone: false. */
  readonly countOnly?: boolean | undefined;
}

/** A dtype to compute in: a certain one, that of the stored weights, or the worker's choice. */
export type ComputeDtype = "auto" | "float32" | "bfloat16" | "float16" | "stored";

/** The fields of a `load` (SPEC §4.1). */
export interface LoadFields {
  /** The most tokens of prompt and answer together. */
  readonly contextLen?: number | null | undefined;
  /** The folder of a LoRA adapter. */
  readonly adapterPath?: Path | null | undefined;
  /** The number of sequences that are computed at once. */
  readonly parallelSlots?: number | null | undefined;
  /** Compile kernels before the load ends, so that the first request is fast: true. */
  readonly warmup?: boolean | undefined;
  /** Refuse a text that outgrows the context, or drop its oldest part (`rotate`). */
  readonly contextPolicy?: "refuse" | "rotate" | undefined;
  /** Keep keys and values quantized in this many bits. */
  readonly kvBits?: 2 | 3 | 4 | 6 | 8 | null | undefined;
  /** The size of the groups of `kvBits`. */
  readonly kvGroupSize?: 32 | 64 | 128 | undefined;
  /** The limit of memory in bytes, as in `MemoryFields`. */
  readonly memoryLimit?: number | null | undefined;
  /** The limit of the prompt cache in bytes, as in `MemoryFields`. */
  readonly promptCacheLimit?: number | null | undefined;
  /** Seconds that one slice of a prompt may hold up the other streams. */
  readonly prefillSeconds?: number | undefined;
  /** The dtype to compute in; `auto` is float32 on a Linux CPU, if it fits into the memory. */
  readonly computeDtype?: ComputeDtype | undefined;
}

/** The options of `Worker.load`. */
export interface LoadOptions extends LoadFields, CallOptions {
  /** Called with the progress of the load. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Limits of memory to set, in bytes (SPEC §4.12). */
export interface MemoryFields {
  /** The memory above which requests wait; 0 turns the limit off. */
  readonly memoryLimit?: number | null | undefined;
  /** The size of the prompt cache; 0 keeps nothing. */
  readonly promptCacheLimit?: number | null | undefined;
  /** The size of the freed buffers that are kept for reuse. */
  readonly bufferLimit?: number | null | undefined;
  /** The memory that may not be paged out. */
  readonly wiredLimit?: number | null | undefined;
  /** Free the buffers that are kept for reuse. */
  readonly clear?: boolean | undefined;
}

/** The options of `Worker.memory`. */
export interface MemoryOptions extends MemoryFields, CallOptions {}
