/**
 * Translates options to fields of the wire. Only the options that the caller set are sent, so the
 * worker's defaults hold; an unknown option is refused by name, never dropped.
 */

import { fileURLToPath } from "node:url";
import type {
  BatchOptions,
  CallOptions,
  ChatOptions,
  ClassifyOptions,
  Conversation,
  DiscoverOptions,
  EmbedOptions,
  EvaluateFields,
  FitFields,
  InspectOptions,
  LoadFields,
  MemoryFields,
  Message,
  Path,
  RenderOptions,
  RerankOptions,
  SamplingOptions,
  ScoreOptions,
  StreamOptions,
  TokenizeChatOptions,
  TokenizeOptions,
  TrainFields,
} from "../options.js";
import type { JsonObject } from "./json.js";
import { type Checks, checkArgument, checkOptions, KINDS } from "./optionChecks.js";
import { snakeCase } from "./shape.js";

/** Translates the value of the option with this name. */
type ToWire = (value: never, name: string) => unknown;
/** Options by name, each with the translation of its value. */
export type SentOptions = Readonly<Record<string, ToWire>>;
/** The options of `Options` by name, each with the translation of its value. */
type Sent<Options> = Readonly<Record<keyof Options & string, ToWire>>;

const plain = (value: unknown): unknown => value;
const biasByToken = (bias: JsonObject | ReadonlyMap<number, number>): unknown =>
  bias instanceof Map ? Object.fromEntries(bias) : bias;

/** Take the definitions of functions that `toolFunction` made, and other tools as they are. */
export const definitions = (tools: unknown): unknown =>
  Array.isArray(tools)
    ? tools.map((given: { readonly tool?: unknown } | null) => given?.tool ?? given)
    : tools;

const DEADLINE = { deadlineSeconds: plain };
const DRAWING = {
  adapter: plain,
  temperature: plain,
  topK: plain,
  topP: plain,
  minP: plain,
  seed: plain,
};

/** The options that `generate` sends. */
export const SAMPLING: Sent<SamplingOptions> = {
  ...DEADLINE,
  ...DRAWING,
  maxTokens: plain,
  repeatPenalty: plain,
  stop: plain,
  stopTokens: plain,
  ignoreEos: plain,
  minTokens: plain,
  xtcProbability: plain,
  xtcThreshold: plain,
  presencePenalty: plain,
  frequencyPenalty: plain,
  penaltyWindow: plain,
  logitBias: biasByToken,
  logprobs: plain,
  topLogprobs: plain,
  cache: plain,
  responseFormat: plain,
};

/** The options that `chat` sends. */
export const CHAT: Sent<Omit<ChatOptions, keyof StreamOptions>> = {
  ...SAMPLING,
  thinking: plain,
  specialTokens: plain,
  tools: definitions,
  toolChoice: plain,
  parallelToolCalls: plain,
};

/** The options that `batch` sends. */
export const BATCH: Sent<Omit<BatchOptions, keyof StreamOptions>> = { ...SAMPLING, stream: plain };

/** The options that `classify` sends. */
export const CLASSIFY: Sent<Omit<ClassifyOptions, keyof StreamOptions>> = {
  ...DEADLINE,
  ...DRAWING,
  logits: plain,
  labels: plain,
  separator: plain,
};

/** The options that `embed` sends. */
export const EMBED: Sent<Omit<EmbedOptions, keyof StreamOptions>> = {
  ...DEADLINE,
  adapter: plain,
  dimensions: plain,
  normalize: plain,
  instruction: plain,
  promptName: plain,
  pooling: plain,
};

/** The options that `score` sends. */
export const SCORE: Sent<Omit<ScoreOptions, keyof StreamOptions>> = {
  ...DEADLINE,
  adapter: plain,
};

/** The options that `rerank` sends. */
export const RERANK: Sent<Omit<RerankOptions, keyof CallOptions>> = {
  ...DEADLINE,
  adapter: plain,
  instruction: plain,
  topN: plain,
};

/** The options that `render` sends. */
export const RENDER: Sent<Omit<RenderOptions, keyof CallOptions>> = {
  thinking: plain,
  specialTokens: plain,
  tools: definitions,
  toolChoice: plain,
};

/** The options that `discover` sends. */
export const DISCOVER: Sent<Omit<DiscoverOptions, keyof StreamOptions>> = {
  ...DEADLINE,
  hubCache: plain,
  check: plain,
};

/** The options that `fit` sends. */
export const FIT: Sent<FitFields> = {
  contextLen: plain,
  parallelSlots: plain,
  kvBits: plain,
  kvGroupSize: plain,
  memoryLimit: plain,
  computeDtype: plain,
};

/** The options that `inspect` sends. */
export const INSPECT: Sent<Omit<InspectOptions, keyof CallOptions>> = { layers: plain };

/** The options that `tokenize` sends with a text. */
export const TOKENIZE: Sent<Omit<TokenizeOptions, keyof CallOptions>> = {
  specialTokens: plain,
  countOnly: plain,
};

/** The options that `tokenize` sends with messages. */
export const TOKENIZE_CHAT: Sent<Omit<TokenizeChatOptions, keyof CallOptions>> = {
  ...TOKENIZE,
  thinking: plain,
  tools: definitions,
};

/** The options that `load` sends. */
export const LOAD: Sent<LoadFields> = {
  contextLen: plain,
  adapterPath: pathText,
  parallelSlots: plain,
  warmup: plain,
  contextPolicy: plain,
  kvBits: plain,
  kvGroupSize: plain,
  memoryLimit: plain,
  promptCacheLimit: plain,
  prefillSeconds: plain,
  computeDtype: plain,
};

/** The options that `memory` sends. */
export const MEMORY: Sent<MemoryFields> = {
  memoryLimit: plain,
  promptCacheLimit: plain,
  bufferLimit: plain,
  wiredLimit: plain,
  clear: plain,
};

const DATA = {
  ...DEADLINE,
  batchSize: plain,
  maskPrompt: plain,
  maxSequence: plain,
  memoryLimit: plain,
};

/** The options that `evaluate` sends. */
export const EVALUATE: Sent<EvaluateFields> = { ...DATA, adapter: plain };

/** The options that `train` sends. */
export const TRAIN: Sent<TrainFields> = {
  ...DATA,
  out: pathText,
  method: plain,
  rank: plain,
  scale: plain,
  dropout: plain,
  layers: plain,
  keys: plain,
  iterations: plain,
  epochs: plain,
  learningRate: plain,
  schedule: plain,
  warmup: plain,
  optimizer: plain,
  weightDecay: plain,
  gradientAccumulation: plain,
  gradientCheckpointing: plain,
  gradientClip: plain,
  dtype: plain,
  format: plain,
  validation: (value: Path | number, name) =>
    typeof value === "number" ? value : pathText(value, name),
  evaluateEvery: plain,
  saveEvery: plain,
  seed: plain,
  resume: plain,
  loadAs: plain,
};

/** The caller's names of the fields that have another name on the wire. */
const CALLERS_NAMES: ReadonlyMap<string, string> = new Map([
  ...[
    CHAT,
    BATCH,
    CLASSIFY,
    EMBED,
    RERANK,
    DISCOVER,
    TOKENIZE_CHAT,
    LOAD,
    MEMORY,
    EVALUATE,
    TRAIN,
  ].flatMap((sent) => Object.keys(sent).map((name): [string, string] => [snakeCase(name), name])),
  ["target", "requestId"],
]);

/** Give the caller's name of a field of the wire, also of a part of it, such as `stop_tokens[1]`. */
export function callersName(path: string): string {
  const [field = ""] = /^\w*/.exec(path) ?? [];
  return (CALLERS_NAMES.get(field) ?? field) + path.slice(field.length);
}

/** The options of each call that stay in this client. */
export const CALL = {
  timeoutMs: KINDS.ms,
  signal: KINDS.signal,
} as const satisfies Record<keyof CallOptions, unknown>;
/** The options of a load, a training or an evaluation that stay in this client. */
export const JOB_CALL = { ...CALL, onProgress: KINDS.callback } as const;
/** The options of each stream that stay in this client. */
export const STREAM = {
  ...JOB_CALL,
  idleTimeoutMs: KINDS.ms,
} as const satisfies Record<keyof StreamOptions, unknown>;

/** The options of a stream without progress that stay in this client. */
export const QUIET_STREAM = { ...CALL, idleTimeoutMs: KINDS.ms } as const;

/** Return a path as text. @throws InvalidParams for another value, naming the argument or option. */
export function pathText(path: Path, name = "path"): string {
  checkArgument(name, path, KINDS.path);
  return typeof path === "string" ? path : fileURLToPath(path);
}

/** Give a conversation for the wire; a bare string is one turn of the user. */
export function chatMessages(messages: string | readonly Message[]): readonly Message[] {
  return typeof messages === "string" ? [{ role: "user", content: messages }] : messages;
}

/**
 * Give conversations for the wire. @throws InvalidParams if they are no array, which has the turns of
 * one conversation elsewhere.
 */
export function chats(conversations: readonly Conversation[]): readonly (readonly Message[])[] {
  checkArgument("conversations", conversations, KINDS.array);
  return conversations.map(chatMessages);
}

/**
 * Translate the options of a command to fields of the wire; null and undefined are the same as left
 * out.
 *
 * @param local the options that stay in this client.
 * @throws InvalidParams for an unknown option, or a wrong value of one that stays here.
 */
export function wireFields<Options extends object>(
  command: string,
  options: Options,
  sent: SentOptions,
  local: Checks,
): JsonObject {
  const atWorker = Object.keys(sent).map((name) => [name, KINDS.any] as const);
  checkOptions(command, options, { ...Object.fromEntries(atWorker), ...local });
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    const toWire = sent[name] as ((value: unknown, name: string) => unknown) | undefined;
    if (toWire !== undefined && value !== undefined && value !== null) {
      fields[snakeCase(name)] = toWire(value, name);
    }
  }
  return fields;
}
