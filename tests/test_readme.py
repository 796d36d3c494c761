"""The documentation against the program: its Python runs, its command lines parse, its tables and links are true."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer.main

import imagic
from imagic.cli.app import app
from imagic.core.types import FitRequest, Sample

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")

# As little work as each stage allows: whether the calls fit together is the question, not what comes out.
TINY_FIT = {"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 1, "network_pairs": 1, "measured_pairs": 1}
TINY_EDIT = {"num_steps": 2, "candidates": 3, "refine": 0, "search_steps": 2, "agreement_pairs": 1}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language in a page."""
    return [
        match["text"] for match in FENCE.finditer(page.read_text(encoding="utf-8")) if match["language"] == language
    ]


def command_lines(program: str) -> list[str]:
    """Every line of the bash blocks of all pages that starts with `program`, without its comment."""
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.startswith(f"{program} ")]


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the examples in it and the outputs that documented commands read."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(300)
def test_readme_python_runs(examples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagic, "fit", functools.partial(imagic.fit, options=TINY_FIT))
    monkeypatch.setattr(imagic, "edit", functools.partial(imagic.edit, options=TINY_EDIT))
    (code,) = blocks(ROOT / "README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    promised = set(re.findall(r"\"([\w.-]+\.(?:png|safetensors))\"", code)) - {"by-hand.png"}
    assert promised
    written = {path.name for path in examples.iterdir()}
    assert written >= promised | {f"by-hand-eta{eta}.png" for eta in (0.5, 0.7, 0.9)}


def test_extending_python_runs() -> None:
    """The pages' metric and method do what they say, on a model whose latent is the image itself."""
    names: dict[str, Any] = {}
    for code in blocks(ROOT / "docs" / "extending.md", "python"):
        exec(compile(code, "extending.md", "exec"), names)

    class Identity:
        device = torch.device("cpu")

        def encode(self, image: torch.Tensor) -> torch.Tensor:
            return image

        decode = encode

    image = torch.linspace(-1, 1, 3 * 4 * 4).reshape(1, 3, 4, 4)
    method, backbone = names["Blend"](), Identity()
    state = result(method.fit(backbone, FitRequest(image, "a sitting dog"), names["BlendFit"]()))
    edited = result(method.edit(backbone, state, names["BlendEdit"](amount=0.25), [3, 4]))
    noise = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(edited.chosen[1].image, 0.75 * image[0] + 0.25 * noise)
    sample = Sample(image=image[0] + 0.5, input=image[0], target_text="a sitting dog")
    assert names["LargestChange"]()(sample) == pytest.approx(0.5)


def result(work: Any) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as finished:
            return finished.value


@pytest.mark.parametrize("line", command_lines("imagic"))
def test_documented_command_lines_parse(line: str, examples: Path) -> None:
    for name in ("sitting.png", "dog.safetensors"):
        (examples / name).touch()
    parse(shlex.split(line)[1:])


@pytest.mark.parametrize("line", ["imagic edt a.png b", "imagic edit a.png b --no-such-option", "imagic methods a b"])
def test_wrong_command_lines_do_not_parse(line: str) -> None:
    with pytest.raises(Exception, match=r"No such|unexpected"):
        parse(shlex.split(line)[1:])


def parse(arguments: list[str]) -> None:
    """Parses a command line down to its command, and runs nothing. Raises what the command line would report."""
    command: Any = typer.main.get_command(app)
    context = None
    while True:
        try:
            context = command.make_context(command.name, list(arguments), parent=context)
        except typer.Exit:  # --help and --version
            return
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        _, command, arguments = command.resolve_command(context, rest)


@pytest.mark.parametrize("line", sorted(set(command_lines("make"))))
def test_documented_make_targets_exist(line: str) -> None:
    subprocess.run(["make", "--dry-run", *shlex.split(line)[1:]], cwd=ROOT, check=True, capture_output=True)


def test_ci_runs_the_documented_test_command() -> None:
    assert "make test" in command_lines("make")
    assert "make test" in (ROOT / ".ci" / "run").read_text().replace("\\\n", "").split('"', 1)[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    local = [target for target in targets if not target.startswith(("https://", "http://"))]
    assert [target for target in local if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether a relative link names a file, and its fragment a heading there."""
    name, _, fragment = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists() or not path.is_relative_to(ROOT):
        return False
    if not fragment:
        return True
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return fragment in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """docs/tables.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_tables_are_up_to_date(tables: ModuleType) -> None:
    filled: Callable[[str], str] = tables.filled
    for name in tables.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert "<!-- table: " in page
        assert page == filled(page), f"{name} is out of date: run `make docs`"
