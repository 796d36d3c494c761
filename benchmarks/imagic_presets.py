"""Sweeps Imagic's options on training-side edits: success and seconds of each setting, from which `fast` is chosen.

    python benchmarks/imagic_presets.py OUT [--limit 18] [--only NAME ...]

Rows go to OUT/rows*.jsonl as in every benchmark run; a rerun goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import imagic
from imagic.bench import report, runner
from imagic.bench.suites import open_suite
from imagic.bench.types import Entry
from imagic.core import registry

# name -> (fit options, edit options), over the defaults.
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "embedding-100": ({"embedding_steps": 100}, {}),
    "embedding-2e-2": ({"embedding_lr": 2e-2}, {}),
    "embedding-200-1e-2": ({"embedding_steps": 200, "embedding_lr": 1e-2}, {}),
    "network-50": ({"network_steps": 50}, {}),
    "network-200": ({"network_steps": 200}, {}),
    "network-2e-5": ({"network_lr": 2e-5}, {}),
    "network-8-pairs-7e-6-even": ({"network_pairs": 8, "network_lr": 7e-6, "cooldown": 0.0}, {}),
    "lora": ({"tuning": "lora"}, {}),
    "guidance-5": ({}, {"guidance_scale": 5.0}),
    "guidance-3-throughout": ({}, {"guidance_at_zero": 3.0}),
    "closeness-0.1": ({}, {"closeness_weight": 0.1}),
    "closeness-0.3": ({}, {"closeness_weight": 0.3}),
    "closeness-0.5": ({}, {"closeness_weight": 0.5}),
    "agreement-16": ({}, {"agreement_pairs": 16}),
}


def main() -> None:
    """Runs the settings one after the other and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=18)
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    method = registry.method("imagic")
    entries = [Entry(name, method, "", *SETTINGS[name]) for name in options.only]
    model = imagic.load_model("menagerie")
    for progress in runner.run(options.out, open_suite("menagerie-training", options.limit), entries, model, seed=0):
        print(f"\r{progress.stage} {progress.step}/{progress.total}   ", end="", flush=True)
    print("\n" + report.markdown(report.load(options.out)))


if __name__ == "__main__":
    main()
