"""Run a language model in a child process: spawn a worker, load a model, stream its tokens."""

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import Message
from mlxwire_protocol.replies import Event, Progress, RequestMetrics
from mlxwire_protocol.results import (
    CacheResult,
    CancelResult,
    HelloResult,
    MemoryResult,
    ModelInfo,
    WorkerMetrics,
)

from . import backend
from .backend import Backend, BackendModel, load_model
from .cache import PromptCache
from .connection.liveness import LivenessLimits
from .errors import (
    ContextOverflow,
    DeadlineExceeded,
    DrainTimeout,
    DuplicateId,
    HandshakeFailed,
    InternalError,
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
    Unavailable,
    UnknownCommand,
    UnsupportedCapability,
    UnsupportedModel,
    UnsupportedProtocol,
    WorkerCrashed,
)
from .model import Model
from .options import ChatOptions, GenerateOptions, LoadOptions, MemoryOptions
from .pool.pool import Pool, PoolMemory, PoolMetrics, PoolWorker
from .process.shutdown import ShutdownLimits
from .restart.policy import RestartPolicy, WorkerChange
from .results import (
    BatchResult,
    ClassifyResult,
    Done,
    Heartbeat,
    Token,
    Tokenized,
    TopLogprob,
)
from .stream import BatchStream, TokenStream
from .version import __version__
from .worker import Worker

__all__ = [
    "Backend",
    "BackendModel",
    "BatchResult",
    "BatchStream",
    "CacheResult",
    "CancelResult",
    "ChatOptions",
    "ClassifyResult",
    "ContextOverflow",
    "DeadlineExceeded",
    "Done",
    "DrainTimeout",
    "DuplicateId",
    "Event",
    "GenerateOptions",
    "HandshakeFailed",
    "Heartbeat",
    "HelloResult",
    "InternalError",
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
    "Pool",
    "PoolMemory",
    "PoolMetrics",
    "PoolWorker",
    "Progress",
    "PromptCache",
    "ProtocolViolation",
    "RequestCancelled",
    "RequestMetrics",
    "RequestTimeout",
    "RestartPolicy",
    "ShutdownLimits",
    "ShuttingDown",
    "SlowConsumer",
    "SpawnFailed",
    "Token",
    "TokenStream",
    "Tokenized",
    "TopLogprob",
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
    "load_model",
]
