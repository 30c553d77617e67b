/** Run a language model in a child process: start a worker, load a model, stream its tokens. */

export type { PromptCache } from "./cache.js";
export * from "./errors.js";
export type { Model } from "./model.js";
export type {
  BatchOptions,
  CallOptions,
  ChatOptions,
  ClassifyOptions,
  GenerateOptions,
  InspectOptions,
  LoadFields,
  LoadOptions,
  MemoryFields,
  MemoryOptions,
  Message,
  Path,
  SamplingOptions,
  StreamOptions,
  TokenizeChatOptions,
  TokenizeOptions,
} from "./options.js";
export { findWorker, WORKER_VARIABLE } from "./process/findWorker.js";
export type { LivenessLimits } from "./process/liveness.js";
export type { ShutdownLimits } from "./process/shutdown.js";
export type { RestartPolicy } from "./restart/policy.js";
export type { WorkerChange, WorkerState } from "./restart/workerStates.js";
export type {
  BatchItem,
  BatchToken,
  CacheStats,
  CancelOutcome,
  ClassifyItem,
  Done,
  FinishReason,
  Heartbeat,
  Inspected,
  MemoryFigures,
  ModelInfo,
  Progress,
  RequestMetrics,
  Token,
  Tokenized,
  TopLogprob,
  UnknownEvent,
  WorkerEvent,
  WorkerMetrics,
} from "./results.js";
export type { BatchStream, Chunks, Stream, TokenStream } from "./stream.js";
export { VERSION } from "./wire/clientConnection.js";
export { Worker } from "./worker.js";
export type { WorkerOptions } from "./workerOptions.js";
