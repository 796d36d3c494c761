"""The site of the docs: it builds without a warning, loads nothing from elsewhere, and its reference is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer.main

import imagic
from imagic.cli.app import app
from imagic.core import registry
from imagic.core.describing import describe_method
from tests.documented import ROOT

# What a page loads by itself, unlike the links that a reader follows.
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; mkdocs.yml is strict, so that each warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    child = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "WARNING" not in child.stderr
    return folder


class Loaded(HTMLParser):
    """The addresses that a page loads, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if value and LOADING.get(tag) == name]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_page_of_the_docs_is_in_the_site(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    expected = {
        path.with_name("index.html") if path.stem == "README" else path.with_suffix(".html") for path in sources
    }
    expected |= {Path(name) for name in ("index.html", "changelog.html", "contributing.html", "plugin.html")}
    assert {path.relative_to(site) for path in site.rglob("*.html")} >= expected
    assert not list(site.rglob("*.py*"))


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    outside = {
        (page.name, each) for page in pages for each in Loaded(page).addresses if re.match(r"(https?:)?//", each)
    }
    assert outside == set()
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_reference_has_every_command_with_every_option(site: Path) -> None:
    shown = Loaded(site / "reference" / "command-line.html").text
    assert "--mask auto|FILE" in shown
    for path, options in commands("imagic", typer.main.get_command(app)):
        assert path in shown
        part = shown.split(f"{path} [OPTIONS]")[-1].split("[OPTIONS]")[0]
        assert not [name for name in options if name not in part], path


def commands(path: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    """Each command without subcommands, and the names of its options."""
    if subcommands := getattr(command, "commands", {}):
        for name, each in subcommands.items():
            yield from commands(f"{path} {name}", each)
    else:
        yield path, [name for each in command.params for name in each.opts if name.startswith("--")]


def test_the_reference_has_every_option_of_every_method_and_every_public_name(site: Path) -> None:
    shown = Loaded(site / "reference" / "options.html").text
    for name in registry.names(registry.Group.METHODS):
        method = describe_method(registry.method(name))
        for option in (*method["fit"], *method["edit"]):
            assert option["name"] in shown
            assert option["help"] in shown, f"{name}: {option['name']}"
    shown = Loaded(site / "reference" / "python.html").text
    for name in imagic.__all__:
        assert name.startswith("_") or f"imagic.{name}" in shown
    assert "object at 0x" not in shown
    assert "<function" not in shown
