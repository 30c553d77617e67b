/** The options of requests, by their names in JavaScript; `wire/wireFields.ts` translates them. */

import type { Progress } from "./results.js";

/** A path of a folder or file, or its `file:` URL. */
export type Path = string | URL;

/** One turn of a conversation, with the names of OpenAI's interface. */
export interface Message {
  /** `system`, `user`, `assistant`, or another role of the model's template. */
  readonly role: string;
  /** The text of the turn, or its parts. It may be null or left out where `tool_calls` stand. */
  readonly content?: string | readonly TextPart[] | null | undefined;
  /** The thoughts that led to a turn of the assistant. The template decides if it renders them. */
  readonly reasoning_content?: string | null | undefined;
  /** The calls of a turn of the assistant. */
  readonly tool_calls?: readonly TurnCall[] | null | undefined;
  /** The call whose result a turn of the role `tool` has. */
  readonly tool_call_id?: string | null | undefined;
  /** The name of the speaker, or of the tool that was called. */
  readonly name?: string | null | undefined;
}

/** A part of a turn's content; text is the only kind. */
export interface TextPart {
  readonly type: "text";
  readonly text: string;
}

/** A tool call in a turn of the assistant. */
export interface TurnCall {
  readonly id?: string | null | undefined;
  readonly type?: "function" | undefined;
  /** The function's name and its arguments, a JSON object as text or as it is. */
  readonly function: {
    readonly name: string;
    readonly arguments?: string | Readonly<Record<string, unknown>> | undefined;
  };
}

/** A function that the model may call, in OpenAI's shape. */
export interface Tool {
  readonly type?: "function" | undefined;
  readonly function: {
    readonly name: string;
    readonly description?: string | undefined;
    /** The JSON Schema of the arguments, an object. */
    readonly parameters?: Readonly<Record<string, unknown>> | undefined;
    /** Refuse a schema that can't be enforced whole, where a call is required. */
    readonly strict?: boolean | null | undefined;
  };
}

/** A function that `toolFunction` made, in the place of its `Tool`. */
export interface HasTool {
  /** The description that the model is given. */
  readonly tool: Tool;
}

/** A limit of a thought. */
export interface ThinkingBudget {
  /** The most tokens of a thought; 0 is no thought. */
  readonly budget: number;
  /** A text that ends a thought which has spent its budget. */
  readonly message?: string | undefined;
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
  /** The name of an adapter that `Model.loadAdapter` has loaded; none by default. */
  readonly adapter?: string | null | undefined;
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
   * without the capability `thinking` refuses it. A budget limits a thought.
   */
  readonly thinking?: boolean | ThinkingBudget | undefined;
  /** Read control tokens in messages as such, not as plain text: false. */
  readonly specialTokens?: boolean | undefined;
  /** The functions that the model may call. `runTools` also runs them; a chat does not. */
  readonly tools?: readonly (Tool | HasTool)[] | undefined;
  /**
   * `auto` (the default), `none`, `required`, or a tool that must be called: its name, or an object if
   * the name is one of these words.
   */
  readonly toolChoice?:
    | string
    | { readonly type?: "function"; readonly function: { readonly name: string } }
    | undefined;
  /** Allow several calls in one answer: true. */
  readonly parallelToolCalls?: boolean | undefined;
}

/** Options with a schema as `responseFormat`, whose stream gives a value. */
export type Typed<O, S> = Omit<O, "responseFormat"> & { readonly responseFormat: S };

/** The options of `Model.batch`. */
export interface BatchOptions extends GenerateOptions {
  /** Also give each token as it comes, with the `index` of its prompt: false. */
  readonly stream?: boolean | undefined;
}

/** The options of `Model.classify` and `Model.classifyChats` (SPEC §4.5). */
export interface ClassifyOptions
  extends StreamOptions,
    Pick<SamplingOptions, "temperature" | "topK" | "topP" | "minP" | "seed" | "adapter"> {
  /** Give each item the raw row of logits over the vocabulary. */
  readonly logits?: boolean | undefined;
  /** Give each item the probability of each of these continuations. */
  readonly labels?: readonly string[] | undefined;
  /** A text between each prompt and what follows it, such as a label: none. */
  readonly separator?: string | undefined;
  /** The deadline, as in `SamplingOptions`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** A text, or its token ids. */
export type Text = string | readonly number[];
/** One turn of the user as a string, or a conversation. */
export type Conversation = string | readonly Message[];

/** The options of `Model.embed` (SPEC §4.20). What is left out is as the model's folder says. */
export interface EmbedOptions extends StreamOptions, Pick<SamplingOptions, "adapter"> {
  /** Keep the first numbers of each vector. */
  readonly dimensions?: number | null | undefined;
  /** Scale each vector to length 1. */
  readonly normalize?: boolean | null | undefined;
  /** What the texts are for; it is written before each text, in the model's own form. */
  readonly instruction?: string | null | undefined;
  /** The name of an instruction of the folder. */
  readonly promptName?: string | null | undefined;
  /** How the vectors of a text's tokens become one. */
  readonly pooling?: "mean" | "last" | "first" | "max" | null | undefined;
  /** The deadline, as in `SamplingOptions`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** The options of `Model.score` (SPEC §4.22). */
export interface ScoreOptions extends StreamOptions, Pick<SamplingOptions, "adapter"> {
  /** The deadline, as in `SamplingOptions`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** The options of `Model.rerank` (SPEC §4.21). */
export interface RerankOptions extends CallOptions, Pick<SamplingOptions, "adapter"> {
  /** What counts as an answer: as the model says. */
  readonly instruction?: string | null | undefined;
  /** Give so many of the best documents: all. */
  readonly topN?: number | null | undefined;
  /** The deadline, as in `SamplingOptions`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** The options of `Model.render` (SPEC §4.19). */
export interface RenderOptions extends CallOptions {
  /** The switch for thinking, as in `ChatOptions`. */
  readonly thinking?: boolean | undefined;
  /** Read control tokens in messages as such, as in `ChatOptions`: false. */
  readonly specialTokens?: boolean | undefined;
  /** The functions that the model may call, as in `ChatOptions`. */
  readonly tools?: readonly (Tool | HasTool)[] | undefined;
  /** Which tool must be called, as in `ChatOptions`. */
  readonly toolChoice?: ChatOptions["toolChoice"];
}

/** The options of `Worker.discover` (SPEC §4.23). */
export interface DiscoverOptions extends Omit<StreamOptions, "onProgress"> {
  /** Look into the hub's local cache: true without paths, false with any. */
  readonly hubCache?: boolean | null | undefined;
  /** Read the JSON files and the headers of the weights, or all that `load` would refuse (`full`). */
  readonly check?: "headers" | "full" | undefined;
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
  /** The functions that the model may call, as in `ChatOptions`. */
  readonly tools?: readonly (Tool | HasTool)[] | undefined;
  /** Give the number of tokens alone: false. */
  readonly countOnly?: boolean | undefined;
}

/** The options of `PromptCache.warm`. */
export interface WarmOptions extends CallOptions {
  /** The tools of the conversation, as in `ChatOptions`. */
  readonly tools?: readonly (Tool | HasTool)[] | undefined;
  /** The adapter of the later requests, as in `SamplingOptions`. */
  readonly adapter?: string | null | undefined;
}

/** A dtype to compute in: a certain one, that of the stored weights, or the worker's choice. */
export type ComputeDtype = "auto" | "float32" | "bfloat16" | "float16" | "stored";

/** The fields of a `load` (SPEC §4.1). */
export interface LoadFields {
  /** The most tokens of prompt and answer together; `auto`: as many as fit into memory. */
  readonly contextLen?: number | "auto" | null | undefined;
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

/** The fields of a `fit` (SPEC §4.24): those of a `load` that decide what a model needs. */
export type FitFields = Pick<
  LoadFields,
  "contextLen" | "parallelSlots" | "kvBits" | "kvGroupSize" | "memoryLimit" | "computeDtype"
>;

/** The options of `Worker.fit` and `Model.fit`. */
export interface FitOptions extends FitFields, CallOptions {}

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

/** How `Model.train` and `Model.evaluate` read their data; docs/training.md has the defaults. */
export interface DataFields {
  /** The number of rows of one forward pass. */
  readonly batchSize?: number | undefined;
  /** Count the loss of answers alone: false. */
  readonly maskPrompt?: boolean | undefined;
  /** The number of tokens at which a row is cut off. */
  readonly maxSequence?: number | undefined;
  /** The bytes that the process may take. */
  readonly memoryLimit?: number | null | undefined;
  /** The deadline, as in `SamplingOptions`. */
  readonly deadlineSeconds?: number | null | undefined;
}

/** The fields of an `evaluate` (SPEC §4.18). */
export interface EvaluateFields extends DataFields {
  /** The name of a loaded adapter; none by default. */
  readonly adapter?: string | null | undefined;
}

/** The fields of a `train` (SPEC §4.17). */
export interface TrainFields extends DataFields {
  /** The folder of the result. */
  readonly out: Path;
  /** Low-rank matrices (`lora`, the default), these with magnitudes (`dora`), or all weights (`full`). */
  readonly method?: "lora" | "dora" | "full" | undefined;
  /** The rank of the matrices. */
  readonly rank?: number | undefined;
  /** The factor of what they add. */
  readonly scale?: number | undefined;
  /** The share of their inputs that is dropped in a step. */
  readonly dropout?: number | undefined;
  /** How many of the last layers to adapt: all. */
  readonly layers?: number | null | undefined;
  /** The names of modules within a layer: all linear ones. */
  readonly keys?: readonly string[] | null | undefined;
  /** The number of steps of the optimizer. */
  readonly iterations?: number | null | undefined;
  /** Passes over the data, in the place of `iterations`. */
  readonly epochs?: number | null | undefined;
  /** The learning rate. */
  readonly learningRate?: number | undefined;
  /** How the learning rate goes on after the warm-up. */
  readonly schedule?: "constant" | "linear" | "cosine" | undefined;
  /** The number of steps in which the learning rate rises from 0. */
  readonly warmup?: number | undefined;
  /** The optimizer: `adamw`. */
  readonly optimizer?: "adamw" | "sgd" | "adafactor" | "lion" | "muon" | undefined;
  /** The weight decay of the optimizer. */
  readonly weightDecay?: number | null | undefined;
  /** The number of batches whose gradients make one step. */
  readonly gradientAccumulation?: number | undefined;
  /** Compute a layer again for its gradient, which takes time and saves memory: false. */
  readonly gradientCheckpointing?: boolean | undefined;
  /** The largest norm of a gradient. */
  readonly gradientClip?: number | null | undefined;
  /** The dtype of the adapter. */
  readonly dtype?: "float32" | "bfloat16" | undefined;
  /** The format of the result: that of mlx-lm, or that of PEFT. */
  readonly format?: "mlx" | "peft" | undefined;
  /** A file, or the share of the data between 0 and 1 that is held back. */
  readonly validation?: Path | number | null | undefined;
  /** Compute the validation loss after so many steps; 0 is never. */
  readonly evaluateEvery?: number | undefined;
  /** Save a checkpoint after so many steps; 0 is never. */
  readonly saveEvery?: number | undefined;
  /** The seed of the order of rows and of the first matrices. */
  readonly seed?: number | undefined;
  /** Go on from the last checkpoint in `out`: false. */
  readonly resume?: boolean | undefined;
  /** Load the result under this name. */
  readonly loadAs?: string | null | undefined;
}

/**
 * The options of `Model.train` and `Model.evaluate` that stay in this client. The worker's
 * `requestTimeoutMs` and `idleTimeoutMs` do not hold for these calls.
 */
export interface JobOptions extends CallOptions {
  /** Called with the progress of every stage. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** The options of `Model.evaluate`. */
export interface EvaluateOptions extends EvaluateFields, JobOptions {}

/** The options of `Model.train`. */
export interface TrainOptions extends TrainFields, JobOptions {}
