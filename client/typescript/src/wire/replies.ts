/**
 * The fields of every reply, by their names on the wire (SPEC §3 to §5). A test holds these tables
 * against `protocol/schema`; the types of `results.ts` are derived from them.
 */

import {
  amount,
  arrayOf,
  boolean,
  defaulting,
  integer,
  nullable,
  nullOr,
  number,
  object,
  recordOf,
  shape,
  string,
} from "./shape.js";

/** The metrics of one request. */
export const REQUEST_METRICS = {
  prompt_tokens: defaulting(integer, 0),
  cached_tokens: defaulting(integer, 0),
  cache_miss: nullable(string),
  generated_tokens: defaulting(integer, 0),
  thinking_tokens: defaulting(integer, 0),
  queue_seconds: defaulting(number, 0),
  prefill_seconds: defaulting(number, 0),
  decode_seconds: defaulting(number, 0),
  total_seconds: defaulting(number, 0),
  first_token_seconds: nullable(number),
  prefill_tokens_per_second: defaulting(number, 0),
  decode_tokens_per_second: defaulting(number, 0),
  peak_memory_bytes: defaulting(integer, 0),
  active_memory_bytes: defaulting(integer, 0),
  batch_size: defaulting(integer, 0),
};

/** Sums over the life of the worker process, and its present state. */
export const WORKER_METRICS = {
  requests: integer,
  in_flight: integer,
  queued: integer,
  cancelled: integer,
  errors: integer,
  uptime_seconds: number,
  prompt_tokens: integer,
  cached_tokens: integer,
  generated_tokens: integer,
  queue_seconds: number,
  prefill_seconds: number,
  decode_seconds: number,
  prefill_tokens_per_second: number,
  decode_tokens_per_second: number,
  peak_memory_bytes: integer,
  active_memory_bytes: integer,
  batch_size: integer,
};

/** One of the likeliest tokens at one place. */
export const TOP_LOGPROB = { token: string, token_id: integer, logprob: nullOr(number) };

/** A token, with the fields that only some tokens have. */
export const TOKEN = {
  seq: integer,
  token: string,
  token_id: integer,
  flush: defaulting(boolean, false),
  index: nullable(integer),
  channel: nullable(string),
  logprob: nullable(number),
  top_logprobs: nullable(arrayOf(shape(TOP_LOGPROB))),
};

/** A part of a tool call: its beginning has `call_id` and `name`, the rest `arguments`. */
export const TOOL_CALL_PART = {
  seq: integer,
  index: amount,
  call_id: nullable(string),
  name: nullable(string),
  arguments: nullable(string),
};

/** A complete tool call. */
export const TOOL_CALL = {
  index: integer,
  call_id: string,
  name: string,
  arguments: string,
  arguments_error: nullable(string),
};

/** A tool call that did not become whole. */
export const TOOL_ERROR = {
  index: nullable(integer),
  message: string,
  text: string,
  cut_off: defaulting(boolean, false),
};

/** The item of one prompt of a `classify`. */
export const CLASSIFY_ITEM = {
  index: integer,
  token: string,
  token_id: integer,
  logprob: nullOr(number),
  logits: nullable(arrayOf(nullable(number))),
  labels: nullable(recordOf(nullable(number))),
};

/** The item of one prompt of a `batch`; its `error` is read apart. */
export const BATCH_ITEM = {
  index: integer,
  text: string,
  token_ids: arrayOf(integer),
  finish_reason: nullOr(string),
  tokens_generated: integer,
  complete: nullable(boolean),
  schema_valid: nullable(boolean),
};

/** The vector of one text of an `embed`; its numbers are read apart. */
export const EMBEDDING = { index: integer, embedding: string, tokens: integer };

/** The log-probabilities of one text of a `score`. */
export const SCORE_ITEM = {
  index: integer,
  token_ids: arrayOf(integer),
  pieces: arrayOf(string),
  logprobs: arrayOf(nullOr(number)),
  perplexity: nullOr(number),
};

/** A document of a `rerank`. */
export const RANKED = { index: integer, relevance_score: number };

/** The documents of a `rerank`, best first. */
export const RERANK = { results: arrayOf(shape(RANKED)), metrics: shape(REQUEST_METRICS) };

/** The tokens of one message of a prompt. */
export const RENDERED_MESSAGE = { index: integer, start: integer, count: integer };

/** The prompt of a conversation. */
export const RENDER = {
  prompt: string,
  ids: arrayOf(integer),
  count: integer,
  messages: arrayOf(shape(RENDERED_MESSAGE)),
  answer_start: integer,
};

/** The progress of a stage. */
export const PROGRESS = { stage: string, done: amount, total: amount };

/** The progress of a training's steps. */
export const TRAIN_PROGRESS = {
  ...PROGRESS,
  step: integer,
  loss: number,
  validation_loss: nullOr(number),
  learning_rate: number,
  tokens: integer,
  seconds: number,
  tokens_per_second: number,
  peak_memory_bytes: integer,
  seconds_left: number,
};

/** The end of a training. */
export const TRAIN = {
  adapter: string,
  method: string,
  format: string,
  first_loss: number,
  last_loss: number,
  validation_loss: nullOr(number),
  steps: integer,
  tokens: integer,
  rows: integer,
  truncated_rows: integer,
  seconds: number,
  peak_memory_bytes: integer,
  loaded_as: nullable(string),
};

/** The loss and the perplexity of data. */
export const EVALUATE = {
  loss: number,
  perplexity: number,
  tokens: integer,
  rows: integer,
  truncated_rows: integer,
  seconds: number,
};

/** The end of a stream. */
export const DONE = {
  finish_reason: string,
  tokens_generated: integer,
  metrics: shape(REQUEST_METRICS),
  stage: nullable(string),
  complete: nullable(boolean),
  schema_valid: nullable(boolean),
  tool_calls: nullable(arrayOf(shape(TOOL_CALL))),
  tool_error: nullable(shape(TOOL_ERROR)),
};

/** The identity of the worker. */
export const WORKER_IDENTITY = { name: string, version: string, pid: integer, engine: string };

/** Sizes that the worker enforces. */
export const LIMITS = { max_line_bytes: integer, max_inflight: integer };

/** The answer to hello. */
export const HELLO = {
  protocol: integer,
  worker: shape(WORKER_IDENTITY),
  capabilities: object,
  limits: shape(LIMITS),
  events: defaulting(arrayOf(string), []),
};

/** An adapter that requests may name. */
export const ADAPTER_INFO = {
  name: string,
  path: string,
  format: string,
  method: string,
  rank: integer,
  scale: number,
  modules: integer,
  parameters: integer,
  bytes: integer,
};

/** The adapters that are loaded. */
export const ADAPTERS = { adapters: arrayOf(shape(ADAPTER_INFO)) };

/** The description of a model. */
export const MODEL_INFO = {
  model_type: string,
  vocab_size: integer,
  layers: integer,
  hidden_size: integer,
  context_len: integer,
  quant_bits: integer,
  quant_group: integer,
  parameters: integer,
  weight_bytes: integer,
  path: string,
  adapter_path: nullable(string),
  chat_template: boolean,
  parallel_slots: integer,
  capabilities: object,
  compute_dtype: defaulting(string, ""),
  blas: defaulting(nullable(string), null),
  blas_threads: defaulting(integer, 0),
  adapters: defaulting(arrayOf(shape(ADAPTER_INFO)), []),
  quant_mode: defaulting(string, ""),
  pooling: nullable(string),
};

/** An adapter's folder beside a model or below it. */
export const FOUND_ADAPTER = { path: string, format: string };

/** A model that `discover` found. */
export const FOUND_MODEL = {
  index: integer,
  path: string,
  name: string,
  model_type: string,
  architecture: nullOr(string),
  vocab_size: integer,
  layers: integer,
  hidden_size: integer,
  context_len: integer,
  quant_bits: integer,
  quant_group: integer,
  quant_mode: string,
  parameters: integer,
  weight_bytes: integer,
  chat_template: boolean,
  capabilities: object,
  compute_dtype: string,
  dtype_bytes: recordOf(integer),
  pooling: nullable(string),
  repository: nullable(string),
  revision: nullable(string),
  adapters: defaulting(arrayOf(shape(FOUND_ADAPTER)), []),
};

/** A folder that `load` would refuse; its `error` is read apart. */
export const BROKEN_MODEL = { index: integer, path: string, name: string };

/** The memory that a model needs, and what there is. */
export const FIT = {
  path: string,
  model_type: string,
  compute_dtype: string,
  kv_bits: integer,
  context_len: integer,
  parallel_slots: integer,
  weight_bytes: integer,
  bytes_per_token: integer,
  sequence_bytes: integer,
  cache_bytes: integer,
  scratch_bytes: integer,
  total_bytes: integer,
  available_bytes: integer,
  fits: boolean,
  max_context_len: integer,
};

/** The answer to a `load`. */
export const LOAD = {
  ...MODEL_INFO,
  load_seconds: defaulting(number, 0),
  warnings: defaulting(arrayOf(string), []),
};

/** The tokens of a text or of a conversation. */
export const TOKENIZE = {
  ids: nullable(arrayOf(integer)),
  count: integer,
  pieces: nullable(arrayOf(string)),
};

/** The text of token ids. */
export const DETOKENIZE = { text: string };

/** The file of an `inspect`, and the shapes of its arrays. */
export const INSPECT = {
  path: string,
  model_type: string,
  layers: arrayOf(integer),
  heads: integer,
  query_heads: integer,
  head_dim: integer,
  tokens: integer,
};

/** The effect of a `cancel`. */
export const CANCEL = { outcome: string, cancelled: integer };

/** The state of the prompt cache. */
export const CACHE = {
  entries: integer,
  cached_bytes: integer,
  limit_bytes: integer,
  hits: integer,
  misses: integer,
  reused_tokens: integer,
  evictions: integer,
  rejected: integer,
  affected: integer,
};

/** The memory in use, and its limits. */
export const MEMORY = {
  active_bytes: integer,
  peak_bytes: integer,
  buffer_bytes: integer,
  sequence_bytes: integer,
  prompt_cache_bytes: integer,
  memory_limit: integer,
  prompt_cache_limit: integer,
  buffer_limit: integer,
  wired_limit: integer,
  bytes_per_token: integer,
};

/** A failure of a request, or of one of its prompts or texts. */
export const ERROR = {
  error: shape({
    code: string,
    message: string,
    retryable: defaulting(boolean, false),
    data: defaulting(object, {}),
  }),
};

/** A message that the worker sends without a request. */
export const EVENT = { event: string, data: object };

/** The data of the event `heartbeat`. */
export const HEARTBEAT = {
  phase: string,
  steps: integer,
  last_step_seconds: number,
  in_flight: defaulting(integer, 0),
  queued: defaulting(integer, 0),
};
