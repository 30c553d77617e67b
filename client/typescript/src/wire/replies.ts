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

/** The progress of a stage. */
export const PROGRESS = { stage: string, done: amount, total: amount };

/** The end of a stream. */
export const DONE = {
  finish_reason: string,
  tokens_generated: integer,
  metrics: shape(REQUEST_METRICS),
  stage: nullable(string),
  complete: nullable(boolean),
  schema_valid: nullable(boolean),
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

/** A failure of a request, or of one prompt of a batch. */
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
