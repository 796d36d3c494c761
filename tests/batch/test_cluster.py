"""A local Ray as a crew. It listens on every address, so all of it runs in a network namespace of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from imagic.batch import cluster
from imagic.batch.cluster import Cluster
from imagic.core.errors import NotAvailable
from tests.batch.fakes import opening

ROOT = Path(__file__).resolve().parents[2]

# Actors that make the rows of tasks; one of them is killed while it is at work.
PROGRAM = """
import json, sys
from pathlib import Path
from imagic.batch import engine
from imagic.batch.cluster import Cluster
from imagic.batch.types import Task
from tests.batch.fakes import attempts, opening
from tests.bench.fakes import drain

folder = Path(sys.argv[1])
tasks = [Task(f"t{i}", f"g{i}", {"number": i, "seconds": 0.3}) for i in range(5)]
tasks[1] = Task("t1", "g1", {"number": 1, "kill": str(folder / "killed")})
tasks[3] = Task("t3", "g3", {"error": "Say it in other words."})
rows, said = {}, []

def keep(task, row):
    assert task.key not in rows
    rows[task.key] = row
    return {}

with Cluster(opening(folder / "log"), "local", 2) as crew:
    facts = drain(engine.opened(crew))[1]
    summary = drain(engine.run(tasks, crew, keep, lambda task, how: {"error": how}, say=said.append))[1]
print(json.dumps([rows, said, vars(summary), attempts(folder / "log"), facts]))
"""


def apart() -> list[str]:
    """What runs a program in a network namespace with only its own loopback; empty where that cannot be had."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return []
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else []


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'imagic[ray]'")
def test_actors_do_each_task_once_also_when_one_is_killed(tmp_path: Path) -> None:
    prefix = apart()
    if not prefix:
        pytest.skip("there is no network namespace to be had here: unshare and ip are needed")
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # names of sockets hold 107 characters
        done = subprocess.run(
            [*prefix, sys.executable, "-c", PROGRAM, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": short},
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, said, summary, log, facts = json.loads(done.stdout.splitlines()[-1])
    assert summary == {"written": 5, "failed": 1, "skipped": 0}
    assert {key: row.get("square") for key, row in rows.items()} == {"t0": 0, "t1": 1, "t2": 4, "t3": None, "t4": 16}
    assert rows["t3"]["error"] == "Say it in other words."
    assert {key: log.count(key) for key in rows} == {"t0": 1, "t1": 2, "t2": 1, "t3": 1, "t4": 1}
    assert len(said) == 1
    assert said[0].startswith("A worker ended (")
    assert facts["folder"] == os.getcwd()


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotAvailable, match=r"pip install 'imagic\[ray\]'"), Cluster(opening(tmp_path / "log")):
        pass


class FakeRay:
    """What `Cluster` asks of a cluster's resources."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self._nodes = [{"Alive": True, "Resources": node} for node in nodes]
        self._nodes.append({"Alive": False, "Resources": {"GPU": 8.0, "CPU": 64.0}})

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes


@pytest.mark.parametrize(
    ("nodes", "count", "share"),
    [
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}], None, (3, {"num_gpus": 1, "num_cpus": 1})),
        ([{"CPU": 8.0, "GPU": 2.0}], 5, (5, {"num_gpus": 1, "num_cpus": 1})),
        ([{"CPU": 8.0}, {"CPU": 4.0}], None, (2, {"num_cpus": 4})),
        ([{"CPU": 2.0}], None, (1, {"num_cpus": 2})),
        ([{"CPU": 2.0}], 2, (2, {"num_cpus": 1})),
        ([{"CPU": 2.0}], 3, (3, {"num_cpus": 1})),
    ],
)
def test_an_actor_for_each_gpu_else_for_each_node(
    tmp_path: Path, nodes: list[dict[str, float]], count: int | None, share: Any
) -> None:
    crew = Cluster(opening(tmp_path / "log"), cluster.LOCAL, count)
    crew._ray = FakeRay(*nodes)
    assert crew._share() == share
