/** Run a language model in a child process: start a worker, load a model, stream its tokens. */

export {
  type AnswerSchema,
  type JsonSchemaOf,
  jsonSchema,
  type ParsedStream,
  type StandardSchema,
  type Validated,
} from "./answerSchema.js";
export type { PromptCache } from "./cache.js";
export * from "./errors.js";
export type { Model } from "./model.js";
export type {
  BatchOptions,
  CallOptions,
  ChatOptions,
  ClassifyOptions,
  Conversation,
  DataFields,
  DiscoverOptions,
  EmbedOptions,
  EvaluateFields,
  EvaluateOptions,
  FitFields,
  FitOptions,
  GenerateOptions,
  HasTool,
  InspectOptions,
  JobOptions,
  LoadFields,
  LoadOptions,
  MemoryFields,
  MemoryOptions,
  Message,
  Path,
  RenderOptions,
  RerankOptions,
  SamplingOptions,
  ScoreOptions,
  StreamOptions,
  Text,
  TextPart,
  ThinkingBudget,
  TokenizeChatOptions,
  TokenizeOptions,
  Tool,
  TrainFields,
  TrainOptions,
  TurnCall,
  WarmOptions,
} from "./options.js";
export { findWorker, WORKER_VARIABLE } from "./process/findWorker.js";
export type { LivenessLimits } from "./process/liveness.js";
export type { ShutdownLimits } from "./process/shutdown.js";
export type { RestartPolicy } from "./restart/policy.js";
export type { WorkerChange, WorkerState } from "./restart/workerStates.js";
export type {
  AdapterInfo,
  BatchItem,
  BatchToken,
  BrokenModel,
  CacheStats,
  CancelOutcome,
  ClassifyItem,
  Done,
  Embedding,
  EvaluateResult,
  FinishReason,
  FitResult,
  FoundAdapter,
  FoundModel,
  Heartbeat,
  Inspected,
  MemoryFigures,
  ModelInfo,
  Progress,
  RankedDocument,
  Rendered,
  RenderedMessage,
  RequestMetrics,
  ScoreItem,
  Token,
  Tokenized,
  ToolCall,
  ToolCallPart,
  ToolError,
  TopLogprob,
  TrainProgress,
  TrainResult,
  UnknownEvent,
  WorkerEvent,
  WorkerMetrics,
} from "./results.js";
export {
  type CallContext,
  type RunOptions,
  runTools,
  type ToolFunction,
  type ToolsAnswer,
  toolFunction,
} from "./runTools.js";
export type {
  BatchStream,
  Chunks,
  ClassifyStream,
  DiscoverStream,
  EmbeddingStream,
  ItemStream,
  ScoreStream,
  Stream,
} from "./stream.js";
export type { TokenStream } from "./tokenStream.js";
export type { Training } from "./training.js";
export { VERSION } from "./wire/clientConnection.js";
export { Worker } from "./worker.js";
export type { WorkerOptions } from "./workerOptions.js";
