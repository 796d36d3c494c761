"""What a figure was measured on: package versions, threads, processor, and the process's peak memory."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("imagic", "torch", "diffusers", "transformers", "numpy")


def versions() -> dict[str, str]:
    """Python and the packages that decide the pixels; a missing one is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device) -> str:
    """The accelerator's name, or the processor's, with the number of threads torch uses on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> dict[str, Any]:
    """The most memory held so far, in MiB, and which memory that is.

    On a CPU this is the largest resident set of the process since it started (getrusage): it only grows, so a row shows
    the most that any row before it took, too. On a GPU it is the most that torch has allocated since the last reset.
    """
    if device.type == "cuda":
        mib = torch.cuda.max_memory_allocated(device) / 2**20
        return {"mib": round(mib, 1), "of": "GPU memory allocated by torch for this row"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB elsewhere
    return {"mib": round(mib, 1), "of": "resident memory of the process, largest since it started"}


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
