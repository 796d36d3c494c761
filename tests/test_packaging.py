"""The wheel as a user gets it: what travels in it, and that it works where the checkout has never been seen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = "imagic/menagerie/weights/"
# The narrower parts first: a file counts for the first that it lies in.
MOST_BYTES = {"model/instruct": 12_000_000, "model": 40_000_000, "judge": 5_000_000, "clip": 15_000_000}


def project() -> dict[str, object]:
    """The [project] table of pyproject.toml."""
    table: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def test_every_entry_point_loads() -> None:
    """A name that is advertised and cannot be imported would only be noticed by the user who asks for it."""
    groups = project()["entry-points"]
    assert isinstance(groups, dict)
    for group, entries in groups.items():
        for name, value in entries.items():
            (entry,) = {found for found in entry_points(group=group, name=name) if found.value == value}
            assert callable(entry.load()), f"{group}: {name}"


def test_constraints_name_every_dependency_once_and_only_public_versions() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert len(pins) == len(lines)
    assert all(re.fullmatch(r"[0-9]+(\.[0-9a-z]+)*", version) for version in pins.values())
    table = project()
    extras = table["optional-dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(table["dependencies"], list)
    asked = ("dev", "docs", "e2e", "provenance", "report", "test")
    own = [requirement for name in asked for requirement in extras[name]]
    wanted = [*table["dependencies"], *own]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in wanted} - {"imagic"}
    pinned = {canonical(name) for name in pins}
    assert not {name for name in names if canonical(name) not in pinned}


def canonical(name: str) -> str:
    """A distribution's name in the form in which two spellings of it are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive, so that the archive is complete too."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT))
    (found,) = out.glob("imagic-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment with the wheel in it; the dependencies are borrowed from this one."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False)
    # A line in a .pth file adds the folder to sys.path without reading the .pth files in it, so that an editable
    # installation of the checkout stays unseen.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = home / "lib" / version / "site-packages"
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    run(*pip, "install", "--no-deps", "--no-index", str(wheel))
    return home / "bin"


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_wheel_holds_the_package_with_its_model_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {each.filename: each.file_size for each in archive.infolist()}
    package = {name for name in sizes if not re.match(r"imagic-[^/]*\.dist-info/", name)}
    assert {name for name in package if not name.startswith("imagic/")} == set()
    assert "imagic/py.typed" in package
    weights = {name: sizes[name] for name in package if name.startswith(WEIGHTS)}
    # The parts of a diffusers StableDiffusionPipeline folder.
    endings = {"model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"}
    endings |= {f"{part}/config.json" for part in ("unet", "vae", "text_encoder")}
    assert not {ending for ending in endings if not any(name.endswith("/" + ending) for name in weights)}
    assert sum(name.endswith(".safetensors") for name in weights) >= 3
    assert not {name for name in package if name.endswith((".bin", ".ckpt", ".pt", ".pkl"))}
    assert not {name for name in weights if "/training/" in name}  # it only serves to train the model on
    by_part = dict.fromkeys(MOST_BYTES, 0)
    for name, size in weights.items():
        if part := next((part for part in MOST_BYTES if name.startswith(f"{WEIGHTS}{part}/")), ""):
            by_part[part] += size
    assert not {part: size for part, size in by_part.items() if size > MOST_BYTES[part]}
    assert all(by_part.values()), by_part
    assert any(re.fullmatch(r"imagic-[^/]*\.dist-info/licenses/LICENSE", name) for name in sizes)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_installed_wheel_edits_a_picture(installed: Path, tmp_path: Path) -> None:
    where = run(str(installed / "python"), "-c", "import imagic; print(imagic.__file__)", cwd=tmp_path)
    assert str(installed.parent) in where, "the checkout was imported, not the wheel"
    picture = ROOT / "examples" / "dog.png"
    command = [str(installed / "imagic"), "edit", str(picture), "a sitting dog", "-o", "out.png", "--eta", "0.7"]
    # As small as an edit can be: what it looks like is not the question here.
    tiny = ["embedding_steps=2", "network_steps=2", "measured_pairs=1", "num_steps=2"]
    run(*command, *(part for setting in tiny for part in ("--set", setting)), cwd=tmp_path)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def run(*command: str, cwd: Path | None = None) -> str:
    """Runs a command without network access to models, and gives its standard output; a failure shows both streams."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
