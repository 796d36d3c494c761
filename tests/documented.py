"""What the pages say that can be run: their fenced blocks, and a working folder in which a page's blocks run in order.

All is run as a reader would, but with as little work in each method as its options allow, and a benchmark of few items:
whether the commands and calls fit together is the question, not what comes out. A block that cannot run in a test is
marked in the page, in a comment on the line before it, with the reason: `<!-- not run: it needs a cluster -->`, or with
the test that runs it in a setting of its own: `<!-- run by: tests/test_x.py -->`.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imagic.backbones import loading
from imagic.cli.app import app
from imagic.core import registry

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(package / "README.md" for package in PACKAGES),
]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>(?:not run|run by): [^\n]+) -->\n)?^```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# By the name of an option, whatever the method.
TINY: Mapping[str, Any] = {
    **{"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 1, "network_pairs": 1, "upper_steps": 1},
    **{"measured_pairs": 1, "num_steps": 2, "candidates": 3, "refine": 0, "search_steps": 2, "agreement_pairs": 1},
    **{"inner_steps": 1, "views": 1, "width": 4, "scales": 2, "mask_noises": 2},
}
# By the command: further arguments, which win over those before them.
FEW = {
    "imagic bench run": ["--limit", "2"],
    "imagic bench ablation": ["--limit", "1"],
    "imagic menagerie render": ["--count", "2"],
    "imagic menagerie score": ["--count", "100", "--num-steps", "2", "--guidance", "1"],
    "imagic menagerie train": ["--steps", "2"],
}
CLOSING_SECONDS = 60  # that a server has to end in
SERVING = {"imagic serve": "Serving at ", "imagic bench study": "until Ctrl-C"}  # what they say when they are ready


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. mark: what the comment before it says, empty for a block that runs."""

    page: Path
    language: str
    text: str
    mark: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each line of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The blocks of a page, of one language or all."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    all_of_them = [Block(page, match["language"], match["text"], match["mark"] or "") for match in found]
    return [block for block in all_of_them if language in (None, block.language)]


def command_lines(program: str) -> list[list[str]]:
    """The words of every command in all pages that calls `program`, also in blocks that do not run."""
    commands = [words for page in PAGES for block in blocks(page, "bash") for words in block.commands]
    return [words for words in commands if words[0] == program]


@contextmanager
def little_work(models: Mapping[str, Any]) -> Iterator[None]:
    """Within: methods' options are tiny unless they are given, and each model is loaded once. models: by name, what
    stands in for large ones."""
    held: dict[str, Any] = {}
    load = loading.load

    def load_once(name: str, *place: Any, **how: Any) -> Any:
        key = repr((name, place, sorted(how.items())))
        if key not in held:
            held[key] = models[name] if name in models else load(name, *place, **how)
        return held[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", load_once)
        for method in map(registry.method, registry.names(registry.Group.METHODS)):
            for kind in (method.FitOptions, method.EditOptions):
                names = list(inspect.signature(kind).parameters)
                defaults: tuple[Any, ...] = kind.__init__.__defaults__ or ()
                tiny = tuple(TINY.get(name, value) for name, value in zip(names, defaults, strict=True))
                patch.setattr(kind.__init__, "__defaults__", tiny)
            small = {
                name: {key: TINY.get(key, values[key]) for key in values} for name, values in method.presets.items()
            }
            patch.setattr(type(method), "presets", small)
        yield


class Reader:
    """Somebody who follows a page in a folder. models: as for `little_work`. names: what Python blocks find, and leave
    for those after them."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, models: dict[str, Any]) -> None:
        self.folder, self.patch, self.models = folder, patch, models
        self.names: dict[str, Any] = {}
        folder.mkdir()
        for name in ("examples", "benchmarks"):
            (folder / name).symlink_to(ROOT / name)
        patch.chdir(folder)

    def follow(self, block: Block) -> None:
        """Runs a block; an AssertionError or the block's own exception says what went wrong."""
        match block.language:
            case "python":
                exec(compile(block.text, block.page.name, "exec"), self.names)
            case "bash":
                for words in block.commands:
                    self.run(words)
            case "toml":
                tomllib.loads(block.text)
            case "json":
                for line in block.text.splitlines():
                    json.loads(line)
            case "text":
                pass
            case other:
                raise AssertionError(
                    f"a block of {block.page.name} is of the language '{other}': name another, or text"
                )

    def run(self, words: list[str]) -> None:
        """Runs a command."""
        command = next((known for known in (*FEW, *SERVING) if words[: known.count(" ") + 1] == known.split()), "")
        match words:
            case ["imagic", *_] if command in SERVING and not {"--report", "--simulate"} & {*words}:
                self.serve(words, SERVING[command])
            case ["imagic", *arguments]:
                done = CliRunner().invoke(app, [*arguments, *FEW.get(command, ())], catch_exceptions=False)
                assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}"
            case ["export", *settings]:
                for setting in settings:
                    self.patch.setenv(*setting.split("=", 1))
            case ["pip", "install", extra] if match := re.fullmatch(r"imagic\[(\w+)\]", extra):
                project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
                assert match[1] in project["optional-dependencies"]
            case ["pip", "install", package]:
                install(ROOT / package, self.folder / "site")
                self.patch.syspath_prepend(self.folder / "site")
            case ["make", *targets]:
                done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=False, capture_output=True)
                assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr.decode()}"
            case ["python", *rest]:
                child = subprocess.run([sys.executable, *rest], check=False, capture_output=True, text=True)
                assert child.returncode == 0, f"{shlex.join(words)}\n{child.stdout}{child.stderr}"
            case _:
                raise AssertionError(f"no way to run: {shlex.join(words)}")

    def serve(self, words: list[str], ready: str) -> None:
        """Starts what serves until Ctrl-C, on a free port, and ends it as soon as it is ready."""
        command = [sys.executable, "-m", "imagic.cli", *words[1:], "--port", "0"]
        environment = os.environ | {"NO_COLOR": "1", "XDG_DATA_HOME": str(self.folder)}
        # A shell's background job, such as a whole test run, hands on that Ctrl-C is to be ignored.
        heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heeds) as server:
            assert server.stderr is not None
            said = []
            for line in server.stderr:
                said.append(line)
                if ready in line:
                    break
            server.send_signal(signal.SIGINT)
            try:
                said.append(server.communicate(timeout=CLOSING_SECONDS)[1])
            except subprocess.TimeoutExpired:
                server.kill()
                raise
        assert any(ready in line for line in said), f"{shlex.join(words)}\n{''.join(said)}"


def install(package: Path, target: Path) -> None:
    """Installs a package from its folder into another, without a network."""
    how = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *how, "--target", str(target), str(package)]
    child = subprocess.run(command, check=False, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
