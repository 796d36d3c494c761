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
    "embedding-40": ({"embedding_steps": 40}, {}),
    "embedding-2e-2": ({"embedding_lr": 2e-2}, {}),
    "network-30": ({"network_steps": 30}, {}),
    "network-60": ({"network_steps": 60}, {}),
    "network-2e-5": ({"network_lr": 2e-5}, {}),
    "fresh-noise": ({"start": "noise", "embedding_steps": 60, "network_steps": 100}, {}),
    "fresh-noise-0.3": ({}, {"fresh_noise": 0.3}),
    "lora": ({"tuning": "lora"}, {}),
    "guidance-5": ({}, {"guidance_scale": 5.0}),
    "guidance-3-throughout": ({}, {"guidance_at_zero": 3.0}),
    "closeness-0.8": ({}, {"closeness_weight": 0.8}),
    "closeness-1.5": ({}, {"closeness_weight": 1.5}),
    "no-local-blend": ({}, {"local_blend": 0.0}),
    "words-with-the-rest": ({}, {"words_lead": 1.0}),
    "agreement-32": ({}, {"agreement_pairs": 32}),
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
