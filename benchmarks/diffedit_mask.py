"""Scores DiffEdit's mask against the true masks of menagerie edits: the mean IoU of each setting, by group.

    python benchmarks/diffedit_mask.py [--limit 102] [--held-out] [--grid] [--only NAME ...]

Options are chosen on training-side edits, which is the default, and reported once on held-out ones. `--grid` crosses
reference, strength and threshold, best first. The mask's cells are enlarged to the picture; `ceiling` is the true mask
itself on these cells, `everything` a white mask. With a clamp a cell is in the mask where its difference exceeds
mask_threshold x mask_clamp times the mean: only the product counts.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import imagic
from imagic.core.options import build_options
from imagic.core.text_mask import MaskOptions, binary, mask_noise, relative, text_difference
from imagic.core.types import Backbone
from imagic.menagerie.edits import GROUPS, Edit, held_out_edits, training_edits
from imagic.menagerie.render import render

CEILING, EVERYTHING = "ceiling", "everything"

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "reference empty": {"mask_reference": "empty"},
    **{f"noises {count}": {"mask_noises": count} for count in (1, 3, 30)},
    **{f"strength {value}": {"mask_strength": value} for value in (0.3, 0.4, 0.6, 0.7, 0.8)},
    **{f"threshold {value}": {"mask_threshold": value} for value in (0.1, 0.15, 0.25, 0.3, 0.5)},
    **{f"clamp 3, threshold {value}": {"mask_clamp": 3.0, "mask_threshold": value} for value in (0.2, 0.3, 0.4, 0.5)},
    "range": {"mask_scaling": "range"},
    "channels max": {"mask_channels": "max"},
    "channels norm": {"mask_channels": "norm"},
    "guidance 7.5": {"mask_guidance": 7.5},
}
GRID = {
    f"{reference}, strength {strength}, threshold {threshold}": {
        "mask_reference": reference,
        "mask_strength": strength,
        "mask_threshold": threshold,
    }
    for reference, strength, threshold in itertools.product(
        ("source", "empty"), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
    )
}


def main() -> None:
    """Goes through the edits and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=102, help="edits; the six groups take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the selection")
    parser.add_argument("--held-out", action="store_true", help="report instead of tuning")
    parser.add_argument("--grid", action="store_true", help="the crossed settings")
    parser.add_argument("--only", nargs="*", help="these settings alone")
    arguments = parser.parse_args()
    known = GRID if arguments.grid else SETTINGS
    if unknown := set(arguments.only or ()) - known.keys():
        parser.error(f"unknown settings: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    settings = {name: build_options(MaskOptions, known[name]) for name in arguments.only or known}
    edits = (held_out_edits if arguments.held_out else training_edits)(arguments.limit, arguments.seed)
    backbone = imagic.load_model("menagerie")
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, edit in enumerate(edits, start=1):
        truth = edit.mask(backbone.image_size)
        for name, mask in found_masks(backbone, edit, truth, settings):
            scores[name][edit.group].append(iou(F.interpolate(mask, truth.shape[-2:])[0], truth))
        print(f"\r{number}/{len(edits)}", end="", flush=True)
    side = "held-out" if arguments.held_out else "training-side"
    print(f"\n{len(edits)} {side} edits, selection {arguments.seed}, model {backbone.fingerprint[:12]}\n")
    print(table(scores, best_first=arguments.grid))


@torch.no_grad()
def found_masks(
    backbone: Backbone, edit: Edit, truth: Tensor, settings: Mapping[str, MaskOptions]
) -> Iterator[tuple[str, Tensor]]:
    """Each setting's mask of an edit, (1, 1, h, w), and the two bounds. Settings share the network's calls."""
    z0 = backbone.encode(render([edit.source], backbone.image_size, backbone.device))
    target, source, null = (backbone.encode_text([each]) for each in (edit.target_text, edit.source_text, ""))
    yield CEILING, binary(F.adaptive_avg_pool2d(truth[None], z0.shape[-2:]), 0.5)
    yield EVERYTHING, torch.ones(1, 1, *z0.shape[-2:])
    noise = mask_noise(z0, 0, max(options.mask_noises for options in settings.values()))
    seen: dict[tuple[str, float, float], Tensor] = {}
    for name, options in settings.items():
        key = _key(options)
        needed = max(other.mask_noises for other in settings.values() if _key(other) == key)
        if key not in seen:
            reference = null if options.mask_reference == "empty" else source
            seen[key] = text_difference(backbone, z0, target, reference, null, noise[:needed], options)
        yield name, binary(relative(seen[key][: options.mask_noises], options), options.mask_threshold).cpu()


def _key(options: MaskOptions) -> tuple[str, float, float]:
    """What decides the network's calls, but for the number of noises."""
    return options.mask_reference, options.mask_strength, options.mask_guidance


def iou(mask: Tensor, truth: Tensor) -> float:
    """Intersection over union of two binary masks; 1 where both are empty."""
    union = torch.maximum(mask, truth).sum()
    return float(torch.minimum(mask, truth).sum() / union) if union else 1.0


def table(scores: Mapping[str, Mapping[str, Sequence[float]]], best_first: bool) -> str:
    """Markdown: the mean IoU per setting and group, and over all with its standard error."""
    lines = [f"| setting | {' | '.join(GROUPS)} | all |", "|---" * (len(GROUPS) + 2) + "|"]
    everything = {name: [value for values in groups.values() for value in values] for name, groups in scores.items()}
    names = sorted(scores, key=lambda name: -statistics.mean(everything[name])) if best_first else list(scores)
    for name in names:
        means = [f"{statistics.mean(scores[name][group]):.3f}" if scores[name][group] else "" for group in GROUPS]
        values = everything[name]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        lines.append(f"| {name} | {' | '.join(means)} | {statistics.mean(values):.3f} ± {error:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
