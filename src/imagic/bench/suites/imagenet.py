"""DiffEdit's ImageNet benchmark: FlexIT's queries (Couairon et al. 2022), "this class -> another class".

1,092 test queries over 273 target classes. Texts are the class names as the list has them; the target class is an
item's group, by which CSFID compares. The protocol resizes the short side and takes the middle square: so do we, at the
model's size (FlexIT: 256).
"""

from __future__ import annotations

import csv
from pathlib import Path

from imagic.bench.suites.given import Given, check_layout, digest, from_file, item
from imagic.core.errors import OptionError

LIST = "queries.csv"
COLUMNS = ("path", "source", "target", "is_test")
NAME = "diffedit-imagenet"
LAYOUT = f"a folder with FlexIT's {LIST} and ImageNet's validation images in the class folders that it names"


def imagenet(folder: Path, limit: int | None = None) -> Given:
    """The first `limit` test queries. Raises OptionError for a missing file, or a list of another form."""
    path = folder / LIST
    check_layout(NAME, [path], LAYOUT)
    queries = [row for row in _rows(path) if row["is_test"] == "True"][:limit]
    check_layout(NAME, [folder / query["path"] for query in queries], LAYOUT)
    items = [
        item(
            name=f"{Path(query['path']).stem}-{query['target'].replace(' ', '_')}",
            group=query["target"],
            target_text=query["target"],
            render=from_file(folder / query["path"], centre=True),
            source_text=query["source"],
        )
        for query in queries
    ]
    return Given(f"{NAME} {digest(path)}", items)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows, names = list(reader), reader.fieldnames or ()
    except (ValueError, csv.Error) as error:
        raise OptionError(f"{path} is not a list of comma-separated values ({error}): get an intact copy.") from error
    if missing := [column for column in COLUMNS if column not in names]:
        raise OptionError(f"{path} is not FlexIT's list: it has no column {missing[0]}.")
    return rows
