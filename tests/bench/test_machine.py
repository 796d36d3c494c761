import platform

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


def test_peak_memory_grows_by_what_is_taken_and_is_in_mib():
    before = machine.peak_memory(CPU)["mib"]
    # Larger than the present peak by itself, so the peak must follow whatever was freed before.
    held = torch.ones(int((before + 64) * 2**20 / 4))
    after = machine.peak_memory(CPU)["mib"]
    del held
    assert before + 64 <= after < 3 * before + 256
    assert machine.peak_memory(CPU)["mib"] >= after
