"""Sweeps Imagic's options on training-side edits: success and seconds of each setting, from which `fast` is chosen.

    python benchmarks/imagic_presets.py OUT [--limit 18] [--only NAME ...]

Rows go to OUT/rows*.jsonl as in every benchmark run, and success against seconds to OUT/pareto.svg; a rerun goes on
where the last one stopped.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagic
from imagic.batch.shards import ALL, Shard
from imagic.bench import report, runner
from imagic.bench.rows import Row
from imagic.bench.suites import open_suite
from imagic.bench.svg import COLOURS, drawing, inline, standalone
from imagic.bench.types import Entry
from imagic.core import registry

# name -> (fit options, edit options), over the defaults.
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    # Those that differ in the edit alone stand together and share a fit.
    "guidance-5": ({}, {"guidance_scale": 5.0}),
    "guidance-3-throughout": ({}, {"guidance_at_zero": 3.0}),
    "closeness-0.8": ({}, {"closeness_weight": 0.8}),
    "closeness-1.5": ({}, {"closeness_weight": 1.5}),
    "no-local-blend": ({}, {"local_blend": 0.0}),
    "words-with-the-rest": ({}, {"words_lead": 1.0}),
    "agreement-32": ({}, {"agreement_pairs": 32}),
    "fresh-noise-0.3": ({}, {"fresh_noise": 0.3}),
    "few-candidates": ({}, {"candidates": 5, "refine": 0, "search_steps": 5}),
    "embedding-10": ({"embedding_steps": 10}, {}),
    "embedding-40": ({"embedding_steps": 40}, {}),
    "embedding-2e-2": ({"embedding_lr": 2e-2}, {}),
    "embedding-4-pairs": ({"embedding_pairs": 4}, {}),
    "network-0": ({"network_steps": 0}, {}),
    "network-30": ({"network_steps": 30}, {}),
    "network-60": ({"network_steps": 60}, {}),
    "network-2e-5": ({"network_lr": 2e-5}, {}),
    "network-8-pairs": ({"network_pairs": 8}, {}),
    "early-stop": ({"embedding_steps": 60, "network_steps": 60, "measure_every": 5, "early_stop": 0.02}, {}),
    "joint-20": ({"joint": True, "network_steps": 20, "network_pairs": 8}, {}),
    "joint-40": ({"joint": True, "network_steps": 40, "network_pairs": 8}, {}),
    "lora": ({"tuning": "lora"}, {}),
    "lora-rank-4": ({"tuning": "lora", "rank": 4, "alpha": 4.0}, {}),
    "cross-attention": ({"parts": ("attn2",)}, {}),
    "fresh-noise": ({"start": "noise", "embedding_steps": 60, "network_steps": 100}, {}),
}
# What takes minutes an edit, as changes to the `paper` preset: itself, and what Imagic among diffusers' community
# pipelines does, at strengths of its documentation and at the one found.
COMMUNITY: dict[str, Any] = {"embedding_steps": 500, "embedding_lr": 1e-3, "network_steps": 1000, "network_lr": 2e-6}
COMMUNITY_EDIT: dict[str, Any] = {"num_steps": 50, "guidance_scale": 7.5, "guidance_at_zero": 7.5}
SLOW: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "paper": ({}, {}),
    "community": (COMMUNITY, {**COMMUNITY_EDIT, "eta": 1.2}),  # its default strength
    "community-0.8": (COMMUNITY, {**COMMUNITY_EDIT, "eta": 0.8}),
    "community-1.0": (COMMUNITY, {**COMMUNITY_EDIT, "eta": 1.0}),
    "community-1.5": (COMMUNITY, {**COMMUNITY_EDIT, "eta": 1.5}),
    "community-automatic": (COMMUNITY, COMMUNITY_EDIT),
}


@dataclass(frozen=True)
class Outcome:
    """A setting over all edits. share: that succeed. seconds: the median of fit and edit."""

    name: str
    share: float
    seconds: float


def entries(names: Sequence[str]) -> list[Entry]:
    """Of one method, so that neighbours may share a fit."""
    method = registry.method("imagic")
    quick = [Entry(name, method, "", *SETTINGS[name]) for name in names if name in SETTINGS]
    return quick + [Entry(name, method, "paper", *SLOW[name]) for name in names if name in SLOW]


def outcomes(rows: Sequence[Row]) -> list[Outcome]:
    """Of each setting; a shared fit counts for each that shared it."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["label"], []).append(row)
    return [
        Outcome(
            name,
            statistics.mean(bool(row["success"]) for row in mine),
            statistics.median(sum(row["seconds"].values()) for row in mine if not row["error"]),
        )
        for name, mine in found.items()
    ]


def frontier(found: Sequence[Outcome]) -> list[Outcome]:
    """Those that none beats in both, by rising seconds."""
    best: list[Outcome] = []
    for each in sorted(found, key=lambda outcome: (outcome.seconds, -outcome.share)):
        if not best or each.share > best[-1].share:
            best.append(each)
    return best


def plot(found: Sequence[Outcome]) -> str:
    """The SVG of success against seconds, with the frontier as a line."""
    with drawing("pareto", height=5.0) as (figure, axes):
        axes.plot([each.seconds for each in found], [each.share for each in found], "o", color=COLOURS[0], markersize=4)
        best = frontier(found)
        axes.step([each.seconds for each in best], [each.share for each in best], where="post", color=COLOURS[3])
        for each in found:
            axes.annotate(each.name, (each.seconds, each.share), (3, 3), textcoords="offset points", fontsize=7)
        axes.set_xlabel("seconds of an edit, fit and all (median)")
        axes.set_ylabel("share of edits that succeed")
        return standalone(inline(figure, "pareto"))


def main() -> None:
    """Runs the settings one after the other, prints the table and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=18)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[*SETTINGS, *SLOW],
        default=list(SETTINGS),
        help="paper and community take minutes an edit",
    )
    parser.add_argument("--shard", type=Shard.parse, default=ALL, help="such as 1/2, into the same folder")
    options = parser.parse_args()
    suite, model = open_suite("menagerie-training", options.limit), imagic.load_model("menagerie")
    work = runner.run(options.out, suite, entries(options.only), model, seed=0, shard=options.shard)
    for progress in work:
        print(f"\r{progress.stage} {progress.step}/{progress.total}   ", end="", flush=True)
    rows = report.load(options.out)
    print("\n" + report.markdown(rows))
    (options.out / "pareto.svg").write_text(plot(outcomes(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
