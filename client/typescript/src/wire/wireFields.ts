/**
 * Options under the wire's names. Only what the caller set is sent, so the worker's defaults hold; an
 * option that is not known is refused by name, never dropped.
 */

import { fileURLToPath } from "node:url";
import { InvalidParams } from "../errors.js";
import type {
  BatchOptions,
  CallOptions,
  ChatOptions,
  ClassifyOptions,
  LoadFields,
  MemoryFields,
  Message,
  Path,
  SamplingOptions,
  StreamOptions,
} from "../options.js";
import type { JsonObject } from "./json.js";
import { checkDurations } from "./optionChecks.js";
import { snakeCase } from "./shape.js";

type ToWire = (value: never) => unknown;
/** For options by their name how their values are put on the wire. */
export type SentOptions = Readonly<Record<string, ToWire>>;
/** For each option of `Options` how its value is put on the wire. */
type Sent<Options> = Readonly<Record<keyof Options & string, ToWire>>;

const plain = (value: unknown): unknown => value;
const biasByToken = (bias: JsonObject | ReadonlyMap<number, number>): unknown =>
  bias instanceof Map ? Object.fromEntries(bias) : bias;

const DEADLINE = { deadlineSeconds: plain };

/** What `generate` sends of its options. */
export const SAMPLING: Sent<SamplingOptions> = {
  ...DEADLINE,
  maxTokens: plain,
  temperature: plain,
  topK: plain,
  topP: plain,
  minP: plain,
  repeatPenalty: plain,
  seed: plain,
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
};

/** What `chat` sends. */
export const CHAT: Sent<Omit<ChatOptions, keyof StreamOptions>> = {
  ...SAMPLING,
  thinking: plain,
  specialTokens: plain,
};

/** What `batch` sends. */
export const BATCH: Sent<Omit<BatchOptions, keyof StreamOptions>> = { ...SAMPLING, stream: plain };

/** What `classify` sends. */
export const CLASSIFY: Sent<Omit<ClassifyOptions, keyof StreamOptions>> = {
  ...DEADLINE,
  logits: plain,
  labels: plain,
};

/** What `load` sends. */
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
};

/** What `memory` sends. */
export const MEMORY: Sent<MemoryFields> = {
  memoryLimit: plain,
  promptCacheLimit: plain,
  bufferLimit: plain,
  wiredLimit: plain,
  clear: plain,
};

/** What stays here of each call's options. */
export const CALL: readonly (keyof CallOptions)[] = ["timeoutMs", "signal"];
/** What stays here of a stream's options. */
export const STREAM: readonly (keyof StreamOptions)[] = [...CALL, "idleTimeoutMs", "onProgress"];

/** A path as text. */
export function pathText(path: Path): string {
  return typeof path === "string" ? path : fileURLToPath(path);
}

/** A conversation for the wire; a bare string is the user's one turn. */
export function chatMessages(messages: string | readonly Message[]): readonly Message[] {
  return typeof messages === "string" ? [{ role: "user", content: messages }] : messages;
}

/**
 * The wire's fields of a command's options; null and undefined are the same as left out.
 *
 * @param local options that this client keeps to itself.
 * @throws InvalidParams for an option that the command does not have, or can't have so.
 */
export function wireFields<Options extends object>(
  command: string,
  options: Options,
  sent: SentOptions,
  local: readonly string[],
): JsonObject {
  checkDurations(options);
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (local.includes(name)) {
      continue;
    }
    const toWire = Object.hasOwn(sent, name) ? sent[name] : undefined;
    if (toWire === undefined) {
      const known = [...Object.keys(sent), ...local].sort().join(", ");
      throw new InvalidParams(`\`${name}\` is no option of ${command}; its options are ${known}`, {
        data: { field: snakeCase(name) },
      });
    }
    if (value !== undefined && value !== null) {
      fields[snakeCase(name)] = (toWire as (value: unknown) => unknown)(value);
    }
  }
  return fields;
}
