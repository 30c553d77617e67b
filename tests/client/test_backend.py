"""The registry of backends."""

from __future__ import annotations

import shlex

import pytest

import mlxwire
from mlxwire import backend


class Other:
    name = "other"

    def __init__(self, available=True):
        self.is_available = available
        self.loaded = []

    def available(self):
        return self.is_available

    async def load_model(self, path, **options):
        self.loaded.append((path, options))
        return "its model"


@pytest.fixture(autouse=True)
def _fresh_registry(monkeypatch):
    monkeypatch.setattr(backend, "_registered", dict(backend._registered))


def test_the_worker_is_registered_and_the_default():
    assert "mlx_lm" in backend.list_backends()
    assert backend.default() is backend.get("mlx_lm") is backend.mlx_lm_backend


async def test_a_registered_backend_loads_by_name():
    other = Other()
    backend.register(other)
    assert "other" in backend.list_backends()
    assert await mlxwire.load_model("p", backend="other", context_len=3) == "its model"
    assert other.loaded == [("p", {"context_len": 3})]


def test_an_unknown_name_is_an_error_that_tells_the_known_ones():
    with pytest.raises(LookupError, match="mlx_lm"):
        backend.get("none")


def test_the_default_passes_over_what_is_not_available(monkeypatch):
    monkeypatch.setattr(backend.WorkerBackend, "available", lambda _: False)
    with pytest.raises(LookupError, match="install"):
        backend.default()
    backend.register(Other(available=False))
    with pytest.raises(LookupError):
        backend.default()
    other = Other()
    backend.register(other)
    assert backend.default() is other


async def test_a_loaded_model_owns_its_worker():
    model = await mlxwire.load_model("p", worker={"engine": "mock"})
    async with model:
        assert await model.generate("a b").text() == "a b"
    with pytest.raises(mlxwire.ShuttingDown):
        await model.generate("a b").text()


async def test_a_failed_load_ends_the_worker(monkeypatch):
    started = []
    original = mlxwire.Worker.start

    async def start(self):
        started.append(self)
        return await original(self)

    monkeypatch.setattr(mlxwire.Worker, "start", start)
    with pytest.raises(mlxwire.InvalidParams):
        await mlxwire.load_model("p", worker={"engine": "mock"}, context_len=-1)
    assert started[0].returncode == 0


def test_a_backend_that_is_installed_is_found_by_its_name(monkeypatch):
    class Entry:
        name = "installed"

        def load(self):
            return installed

    def entry_points(*, group, name=None):
        assert group == "mlxwire.backends"
        return [Entry()] if name in (None, "installed") else []

    installed = Other()
    monkeypatch.setattr(backend, "entry_points", entry_points)
    assert backend.get("installed") is installed
    assert "installed" in backend.list_backends()


def test_without_a_worker_to_start_the_worker_is_not_available(monkeypatch):
    monkeypatch.setenv("MLXWIRE_WORKER", "a worker")
    assert backend.mlx_lm_backend.available()
    monkeypatch.setenv("MLXWIRE_WORKER", "'unbalanced")
    assert not backend.mlx_lm_backend.available()


async def test_a_worker_needs_no_options(monkeypatch, script):
    monkeypatch.setenv("MLXWIRE_WORKER", shlex.join(script("good")))
    model = await mlxwire.load_model("p")
    assert model.loaded.path == "p"
    await model.close()
