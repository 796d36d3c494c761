import platform
from pathlib import Path

import pytest
import torch

from imagic.bench import machine

CPU = torch.device("cpu")


def test_versions_name_what_is_installed(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    assert machine.versions() == {"python": platform.python_version(), "torch": torch.__version__}


def test_hardware_names_the_processor_and_the_threads():
    text = machine.hardware(CPU)
    assert text.endswith(f", {torch.get_num_threads()} threads")
    assert len(text.rpartition(",")[0]) > 2


def test_peak_memory_is_the_kernels_own_high_water_mark_in_mib():
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("this system has no /proc")
    found = machine.peak_memory(CPU)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    assert found["mib"] == pytest.approx(int(line.split()[1]) / 1024, rel=0.05)
    assert "process" in found["of"]
