"""A run of three methods whose order is known on every item: good (the truth itself), fair (a success), poor (none)."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagic.bench.report import load
from imagic.bench.rows import Row
from imagic.bench.runner import run
from tests.bench.fakes import FakeBackbone, FakeSuite, drain, entry

ITEMS = 6


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    etas = {"poor": 0.25, "good": 1.0, "fair": 0.75}
    entries = [entry(label, edit={"eta": eta}) for label, eta in etas.items()]
    drain(run(folder, FakeSuite(count=ITEMS), entries, FakeBackbone()))
    return folder


@pytest.fixture
def rows(run_folder: Path) -> list[Row]:
    return load(run_folder)
