"""Run a language model in a child process: spawn a worker, load a model, stream its tokens."""

from mlxwire_protocol import WireError
from mlxwire_protocol.chat.turns import Message
from mlxwire_protocol.models.replies import FitResult
from mlxwire_protocol.replies import Event, Progress, RequestMetrics
from mlxwire_protocol.results import (
    AdapterInfo,
    CacheResult,
    CancelResult,
    HelloResult,
    MemoryResult,
    ModelInfo,
    WorkerMetrics,
)
from mlxwire_protocol.training.replies import EvaluateResult, TrainProgress, TrainResult

from . import backend
from .backend import Backend, BackendModel, load_model
from .cache import PromptCache
from .connection.liveness import LivenessLimits
from .conversion import Conversion, ConvertProgress, Quantization, convert
from .errors import (
    ContextOverflow,
    DeadlineExceeded,
    DrainTimeout,
    DuplicateId,
    HandshakeFailed,
    InternalError,
    InvalidAnswer,
    InvalidParams,
    InvalidRequest,
    MessageTooLarge,
    MlxwireError,
    ModelLoadFailed,
    ModelNotFound,
    ModelNotLoaded,
    NotInitialized,
    OutOfMemory,
    Overloaded,
    ParseError,
    ProtocolViolation,
    RequestCancelled,
    RequestTimeout,
    ShuttingDown,
    SlowConsumer,
    SpawnFailed,
    TrainingFailed,
    Unavailable,
    UnknownCommand,
    UnsupportedCapability,
    UnsupportedModel,
    UnsupportedProtocol,
    WorkerCrashed,
)
from .folders.discovery import BrokenModel, DiscoverStream, FoundAdapter, FoundModel
from .folders.fitting import FitOptions
from .folders.pulling import PulledModel, pull
from .item_stream import BatchStream
from .model import Model
from .options import ChatOptions, GenerateOptions, LoadOptions, MemoryOptions
from .parsed_stream import ParsedBatch, ParsedResult, ParsedStream
from .pool.pool import Pool, PoolMemory, PoolMetrics, PoolWorker
from .process.shutdown import ShutdownLimits
from .restart.policy import RestartPolicy, WorkerChange
from .results import (
    BatchResult,
    ClassifyResult,
    Done,
    Heartbeat,
    Inspected,
    Token,
    Tokenized,
    ToolCall,
    ToolCallDelta,
    ToolError,
    TopLogprob,
)
from .texts.options import ClassifyOptions, EmbedOptions
from .texts.results import (
    Embedding,
    RankedDocument,
    Rendered,
    RenderedMessage,
    ScoreResult,
)
from .texts.streams import ClassifyStream, EmbeddingStream, ScoreStream
from .token_stream import TokenStream
from .tools.errors import CallCutOff, TooManyRounds
from .tools.rounds import ToolResult, ToolsAnswer
from .tools.run import run_tools
from .tools.tool import Tool
from .training import EvaluateOptions, Training, TrainOptions
from .version import __version__
from .worker import Worker

__all__ = [
    "AdapterInfo",
    "Backend",
    "BackendModel",
    "BatchResult",
    "BatchStream",
    "BrokenModel",
    "CacheResult",
    "CallCutOff",
    "CancelResult",
    "ChatOptions",
    "ClassifyOptions",
    "ClassifyResult",
    "ClassifyStream",
    "ContextOverflow",
    "Conversion",
    "ConvertProgress",
    "DeadlineExceeded",
    "DiscoverStream",
    "Done",
    "DrainTimeout",
    "DuplicateId",
    "EmbedOptions",
    "Embedding",
    "EmbeddingStream",
    "EvaluateOptions",
    "EvaluateResult",
    "Event",
    "FitOptions",
    "FitResult",
    "FoundAdapter",
    "FoundModel",
    "GenerateOptions",
    "HandshakeFailed",
    "Heartbeat",
    "HelloResult",
    "Inspected",
    "InternalError",
    "InvalidAnswer",
    "InvalidParams",
    "InvalidRequest",
    "LivenessLimits",
    "LoadOptions",
    "MemoryOptions",
    "MemoryResult",
    "Message",
    "MessageTooLarge",
    "MlxwireError",
    "Model",
    "ModelInfo",
    "ModelLoadFailed",
    "ModelNotFound",
    "ModelNotLoaded",
    "NotInitialized",
    "OutOfMemory",
    "Overloaded",
    "ParseError",
    "ParsedBatch",
    "ParsedResult",
    "ParsedStream",
    "Pool",
    "PoolMemory",
    "PoolMetrics",
    "PoolWorker",
    "Progress",
    "PromptCache",
    "ProtocolViolation",
    "PulledModel",
    "Quantization",
    "RankedDocument",
    "Rendered",
    "RenderedMessage",
    "RequestCancelled",
    "RequestMetrics",
    "RequestTimeout",
    "RestartPolicy",
    "ScoreResult",
    "ScoreStream",
    "ShutdownLimits",
    "ShuttingDown",
    "SlowConsumer",
    "SpawnFailed",
    "Token",
    "TokenStream",
    "Tokenized",
    "TooManyRounds",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolError",
    "ToolResult",
    "ToolsAnswer",
    "TopLogprob",
    "TrainOptions",
    "TrainProgress",
    "TrainResult",
    "Training",
    "TrainingFailed",
    "Unavailable",
    "UnknownCommand",
    "UnsupportedCapability",
    "UnsupportedModel",
    "UnsupportedProtocol",
    "WireError",
    "Worker",
    "WorkerChange",
    "WorkerCrashed",
    "WorkerMetrics",
    "__version__",
    "backend",
    "convert",
    "load_model",
    "pull",
    "run_tools",
]
