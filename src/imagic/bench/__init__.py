"""Benchmarks: suites of edits whose truth may be known, the runner that scores methods on them, and the report.

`run(out, open_suite("menagerie", limit=12), entries(["imagic", "copy"]), load_model("menagerie"))` is a generator of
progress that writes rows and pictures under `out`; `markdown(load(out))` is the table, `contact_sheet` a look at them.
"""

from imagic.batch.shards import Shard
from imagic.batch.types import Summary
from imagic.bench.catalogue import entries, names
from imagic.bench.lines import summarise
from imagic.bench.measures import Measure, open_measures
from imagic.bench.report import load, markdown
from imagic.bench.runner import run
from imagic.bench.sets import SetScore, score_sets
from imagic.bench.sheet import contact_sheet
from imagic.bench.suites import SUITES, open_suite
from imagic.bench.types import Entry, Item, Judge, Pictures, Suite

__all__ = [
    "SUITES",
    "Entry",
    "Item",
    "Judge",
    "Measure",
    "Pictures",
    "SetScore",
    "Shard",
    "Suite",
    "Summary",
    "contact_sheet",
    "entries",
    "load",
    "markdown",
    "names",
    "open_measures",
    "open_suite",
    "run",
    "score_sets",
    "summarise",
]
