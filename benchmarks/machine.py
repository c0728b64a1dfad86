"""The machine that was measured: what it is, and how many multiply-adds a second it reaches at best."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.timing import seconds

PACKAGES = ("toysup", "numpy", "numba", "torch", "xarray", "netCDF4")


def description(threads: int) -> dict[str, str]:
    """Processor, cores, threads, date and versions: what a number means nothing without."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def peak_rate(*, size: int = 2048, repeats: int = 9) -> float:
    """The most float32 multiply-adds a second, in a product of large square matrices on torch's threads."""
    one, other = torch.rand(size, size), torch.rand(size, size)
    out = torch.empty(size, size)
    return size**3 / min(seconds(lambda: torch.mm(one, other, out=out)) for _ in range(repeats))


def _processor() -> str:
    """The model, which Linux alone says in full, with the widest vectors that numba finds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    wide = " with AVX-512" if any("avx512f" in line for line in lines) else ""
    return f"{names[0] if names else platform.machine()}{wide}"
