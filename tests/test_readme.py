"""The documentation against the program: its command lines parse, its tables and links are true."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from imagic.cli.app import app
from tests.documented import PAGES, ROOT, command_lines

LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


@pytest.mark.parametrize("words", command_lines("imagic"), ids=shlex.join)
def test_documented_command_lines_parse(words: list[str]) -> None:
    """Those too that no test can run."""
    parse(words[1:])


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


def test_ci_runs_the_documented_test_command() -> None:
    assert ["make", "test"] in command_lines("make")
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


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in folder.glob("0*.md")}


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
