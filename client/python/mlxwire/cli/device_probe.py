"""Ask MLX which device it sees, in a process of its own.

The command itself imports no MLX, and an MLX that crashes at its start is a finding.
"""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field

import orjson

from ..process.find_worker import SAFE_PATH

PACKAGES = ("mlx", "mlx-lm", "tokenizers", "orjson", "msgspec")
SECONDS = 60.0

SCRIPT = f"""
try:
    from mlxwire_worker.process.import_path import leave_working_folder

    leave_working_folder()  # MLX finds g++ by PATH
except ImportError:
    pass
import importlib.metadata, json, platform

def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

packages = {{name: version(name) for name in {PACKAGES!r}}}
print(json.dumps({{"python": platform.python_version(), "packages": packages}}), flush=True)
try:
    from mlxwire_worker.mlx_engine.mlx_patches.blas import in_use, probe_program, use_fast_blas

    from mlxwire_worker.mlx_engine.importing import keep_kernels_of_this_card
    from mlxwire_worker.process.kernel_folder import slow_kernels, use_private_kernels

    use_fast_blas()
    folder, refused = use_private_kernels()
    told = {{"kernels": folder and str(folder), "kernels_slow": slow_kernels()}}
    print(json.dumps({{**told, "folders_refused": refused}}), flush=True)
except ImportError:  # an interpreter that has MLX and no worker
    in_use = None
import mlx.core as mx

if in_use is not None:
    keep_kernels_of_this_card()
device = mx.default_device()
describe = getattr(mx, "device_info", None) or mx.metal.device_info
mx.eval(mx.compile(lambda a: mx.exp(a) * a)(mx.ones(8)))
print(json.dumps({{"device": str(device), "device_name": describe().get("device_name")}}), flush=True)
if in_use is not None and device == mx.cpu:
    found = {{"blas": in_use().name, "blas_slow": in_use().slow}}
    print(json.dumps({{**found, "blas_gflops": probe_program.gflops(mx)}}))
"""


@dataclass(slots=True, kw_only=True)
class Probe:
    """The packages of the worker's interpreter, its device, and the BLAS of a CPU.

    A missing package is None. ``blas`` is None for MLX's own; ``blas_slow`` tells why that is used
    although it is the slow one; ``blas_gflops`` is the speed of one float32 product in 10^9
    operations a second, None where MLX does not compute on the CPU. ``kernels`` is the folder for
    MLX's compiled kernels on Linux; ``kernels_slow`` tells why MLX compiles none, and
    ``folders_refused`` why other folders can't be used.
    """

    interpreter: str
    python: str | None = None
    packages: dict[str, str | None] = field(default_factory=dict)
    device: str | None = None
    device_name: str | None = None
    blas: str | None = None
    blas_slow: str | None = None
    blas_gflops: float | None = None
    kernels: str | None = None
    kernels_slow: str | None = None
    folders_refused: list[str] = field(default_factory=list)
    error: str | None = None


async def probe_device(interpreter: str) -> Probe:
    """Run the script with an interpreter; ``error`` tells why MLX can't compute."""
    probe = Probe(interpreter=interpreter)
    try:
        process = await asyncio.create_subprocess_exec(
            interpreter,
            *SAFE_PATH,
            "-c",
            SCRIPT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        probe.error = f"python: {interpreter} does not start: {error.strerror}. Check the worker's command"
        return probe
    try:
        async with asyncio.timeout(SECONDS):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        probe.error = f"mlx: MLX did not start within {SECONDS:g} s. Try `import mlx.core` in {interpreter}"
        return probe
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for line in stdout.splitlines():
        for name, value in orjson.loads(line).items():
            setattr(probe, name, value)
    if process.returncode:
        probe.error = _explain(probe, process.returncode, stderr.decode(errors="replace"))
    return probe


def _explain(probe: Probe, returncode: int, stderr: str) -> str:
    if probe.packages and not probe.packages["mlx"]:
        return "mlx: MLX is not installed; run: pip install 'mlxwire[mlx]'"
    last_words = stderr.strip().rpartition("\n")[2]
    return f"mlx: MLX can't compute here: its process ended with {returncode} ({last_words})"
