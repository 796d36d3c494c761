"""What MkDocs needs beyond its own: the pages that stand outside docs/, links to them, and the tables of the reference.

README, changelog and the like stay where readers of the source look for them, and are pages of the site too.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import relpath
from typing import Any

import reference
import tables
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# A file of the repository -> its place in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "LICENSE.txt",
    "examples/imagic-plugin-ilvr/README.md": "plugin.md",
    "src/imagic/menagerie/weights/model/README.md": "model-card.md",
}
ROW = re.compile(r"^\|.*$", re.MULTILINE)
CODE = re.compile(r"`[^`]+`")
LINK = re.compile(r"(?<=\]\()(?P<target>[^)#:\s]+)(?=[)#])")


def on_files(files: Files, config: Any) -> None:
    """Adds the pages from outside."""
    for path, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Points links at places of the site, and fills the tables."""
    source, place = Path(page.file.abs_src_path), PurePosixPath(page.file.src_uri)
    pointed = LINK.sub(lambda match: _place(source, place, match["target"]), markdown)
    full = tables.filled(pointed, tables.TABLES | reference.TABLES)
    # Markdown elsewhere wants a bar escaped also within the code of a table; here the backslash would be shown.
    return ROW.sub(lambda row: CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), full)


def _place(source: Path, place: PurePosixPath, target: str) -> str:
    """Where a link of a file leads in the site; as it is where it leads to no file, for MkDocs to complain about."""
    path = (source.parent / target).resolve()
    path = path / "README.md" if path.is_dir() else path
    if not path.is_relative_to(ROOT):
        return target
    inside = path.relative_to(ROOT).as_posix()
    if path.is_relative_to(DOCS):
        found = path.relative_to(DOCS).as_posix()
    elif inside in OUTSIDE:
        found = OUTSIDE[inside]
    else:
        return target
    return relpath(found, place.parent.as_posix())
