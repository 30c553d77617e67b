"""`cache`: describe the prompt cache; clear, save, load or warm it."""

from __future__ import annotations

from msgspec import Struct

from mlxwire_protocol import invalid_params
from mlxwire_protocol.messages import Cache
from mlxwire_protocol.replies import FinishReason
from mlxwire_protocol.results import CacheResult

from ..engine import Engine
from ..prompts import SamplingParams
from ..requests.tool_options import tool_options
from .chat import chat_input
from .generation.one_sequence import OneSequence
from .generation.sequence import Sequence
from .operation import BetweenSteps


class CacheOperation(BetweenSteps):
    """A `cache` request with any action but `warm`."""

    __slots__ = ()

    def answer(self) -> Struct:
        """Do the action, and return the cache's state after it."""
        request, engine = self.job.command, self.engine
        assert isinstance(request, Cache)
        affected = 0
        match request.action:
            case "clear":
                affected = engine.clear_cache()
            case "save":
                affected = engine.save_cache(_path(request))
            case "load":
                affected = engine.load_cache(_path(request))
        return _result(engine, request.id, affected)


class WarmOperation(OneSequence):
    """A `cache` request `warm`: a sequence that computes its prompt and generates nothing."""

    __slots__ = ()

    def prepare(self) -> None:
        """Tokenize the prompt or the conversation. Raises: WireError ``invalid_params``."""
        request = self.job.command
        assert isinstance(request, Cache)
        params = SamplingParams(max_tokens=0, adapter=request.adapter)
        if request.messages is not None and request.prompt is None:
            chat = chat_input(request.messages, tools=tool_options(request.tools))
            self.make_prompt(self.engine.chat_prompt(chat, params))
        elif request.tools:
            raise invalid_params("tools", "`tools` needs `messages`; leave `tools` out")
        elif request.prompt is not None and request.messages is None:
            self.make_prompt(self.engine.text_prompt(request.prompt, params, field="prompt"))
        else:
            raise invalid_params(
                "prompt", "`warm` takes either `prompt` or `messages`; give exactly one of them"
            )

    def end_sequence(self, sequence: Sequence, reason: FinishReason) -> None:
        """End the job with the number of the prompt's tokens that the cache now holds."""
        self.engine.remove([sequence.prompt])
        warmed = self.engine.warmed_tokens(sequence.prompt)
        self.ledger.end(self.job, _result(self.engine, self.job.id, warmed))


def _result(engine: Engine, request_id: str, affected: int) -> CacheResult:
    return CacheResult(id=request_id, affected=affected, **engine.cache_figures()._asdict())


def _path(request: Cache) -> str:
    if request.path is None:
        raise invalid_params("path", f"`{request.action}` needs the `path` of a file; add it")
    return request.path
