"""The page's files as they are sent: of kinds that a browser runs, none with an address elsewhere or a line of script
in the page itself, and none that is missing."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path, PurePosixPath

import pytest
from fastapi.testclient import TestClient

FOLDER = Path(str(files("imagic.serve") / "static"))
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_sent_as_what_it_is(client: TestClient, name: str) -> None:
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == KINDS[PurePosixPath(name).suffix]
    # An older copy must not meet a newer service.
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_address(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"""(https?:|wss?:|["'(])//""", text)


def test_the_page_has_no_script_or_style_of_its_own_and_names_only_what_is_there() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    named = set(re.findall(r'(?:src|href)="([\w./-]+)"', page)) - {"/api/v1/openapi.json"}
    modules = {
        f"js/{name}" for path in FOLDER.glob("js/*.js") for name in re.findall(r'from "\./([\w.]+)"', path.read_text())
    }
    assert named | modules | {"index.html"} == set(FILES)


def test_every_element_that_a_script_asks_for_is_there_once() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    ids = re.findall(r'\sid="([\w-]+)"', page)
    assert len(ids) == len(set(ids))
    asked = {
        id for path in FOLDER.glob("js/*.js") for id in re.findall(r'(?:byId|copyOf)\("([\w-]+)"\)', path.read_text())
    }
    assert asked <= set(ids)
    referred = re.findall(r'(?:\sfor|aria-labelledby|aria-describedby)="([\w-]+)"', page)
    assert set(referred) <= set(ids)
