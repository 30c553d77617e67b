"""`generate`: continue a raw prompt, token by token."""

from __future__ import annotations

from mlxwire_protocol.messages import Generate

from .generation.one_sequence import OneSequence
from .generation.sequence import sampling_params


class GenerateOperation(OneSequence):
    """A `generate` request."""

    __slots__ = ()

    def prepare(self) -> None:
        """Tokenize the prompt and check the options."""
        request = self.job.command
        assert isinstance(request, Generate)
        params = sampling_params(request)
        self.engine.check_params(params)
        self.make_prompt(self.engine.text_prompt(request.prompt, params, field="prompt"))
