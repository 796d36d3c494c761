"""Edits without a fit: what the bundled model does with a target text when it is told all about the input.

    python benchmarks/told_edits.py MODEL [--limit 60] [--held-out] [--strength 1 0.5 0.25] [--sheet told.png]

MODEL is an exported folder with its helpers (`training/`), see `imagic menagerie train`. What Imagic has to find out by
optimising an embedding is given here, so this bounds what edits in this model's world can reach before the network is
tuned. Judged as benchmarks are: asked fact reached, all others kept, the same individual.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

import imagic
from imagic import api
from imagic.bench.suites import open_suite
from imagic.bench.verdict import judge_images
from imagic.core.conditioning import Conditioning
from imagic.core.sampling import sample
from imagic.core.seeds import initial_noise
from imagic.core.types import Backbone
from imagic.menagerie.edits import held_out_edits, training_edits
from imagic.menagerie.training.diffusion import TEXT_WIDTH, UNET
from imagic.menagerie.training.helpers import helper_file
from imagic.menagerie.training.unsaid import PLACES, UNSAID, Told, Unsaid, add_unsaid, unsaid
from imagic.menagerie.training.world import tile

STEPS = 20


def main() -> None:
    """Makes all edits at each strength and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--strength", type=float, nargs="+", default=[1.0, 0.5, 0.25])
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--sheet", type=Path, help="inputs, truths and edits at the last strength")
    options = parser.parse_args()
    model = imagic.load_model(str(options.model))
    edits = (held_out_edits if options.held_out else training_edits)(options.limit, 0)
    suite = open_suite("menagerie" if options.held_out else "menagerie-training", options.limit)
    items, judge = suite.items(), suite.judge()
    pictures = [item.render(model) for item in items]
    encoder = Unsaid(TEXT_WIDTH, UNET["block_out_channels"][-1]).eval()
    encoder.load_state_dict(load_file(helper_file(options.model, UNSAID)))
    numbers = torch.tensor([unsaid(edit.source, ()) for edit in edits])
    print("| strength | success | asked | kept | individual | likeness | success per group |")
    print("|---|---|---|---|---|---|---|")
    for strength in options.strength:
        texts = told(model, [edit.target_text for edit in edits], encoder, numbers, strength)
        images = drawn(model, texts, options.guidance)
        verdicts = [
            judge_images(judge, item, each.truth, each.source, [image])[0]
            for item, each, image in zip(items, pictures, images, strict=True)
        ]
        groups = defaultdict(list)
        for item, verdict in zip(items, verdicts, strict=True):
            groups[item.group].append(verdict.success)
        shares = [
            share([getattr(verdict, name) for verdict in verdicts])
            for name in ("success", "asked", "kept", "individual")
        ]
        likeness = statistics.mean(verdict.likeness or 0.0 for verdict in verdicts)
        each = ", ".join(f"{group} {share(found)}" for group, found in groups.items())
        print(f"| {strength:g} | {' | '.join(shares)} | {likeness:.2f} | {each} |", flush=True)
    if options.sheet:
        rows = [
            torch.stack([picture.source, picture.truth, image]) for picture, image in zip(pictures, images, strict=True)
        ]
        tile(torch.cat(rows), columns=12).save(options.sheet)


@torch.no_grad()
def told(model: Backbone, texts: Sequence[str], encoder: Unsaid, numbers: Tensor, strength: float) -> Conditioning:
    """The texts' embeddings, each told its numbers."""
    plain = model.encode_text(texts)
    (name,) = plain.learnable
    strengths, noise = torch.full((len(texts),), strength), torch.zeros(len(texts), PLACES, 1)
    hidden = add_unsaid(plain.tensors[name], encoder, Told(numbers, numbers, strengths, noise))
    return replace(plain, tensors={**plain.tensors, name: hidden})


def drawn(model: Backbone, texts: Conditioning, guidance: float) -> Tensor:
    """One picture per text, all from one noise."""
    shape = model.encode(torch.zeros(1, 3, model.image_size, model.image_size)).shape[1:]
    noise = initial_noise(shape, [0]).expand(len(texts), *shape)
    null = model.encode_text([""]) if guidance != 1 else None
    with torch.no_grad():
        z = api.finish(sample(model, noise, model.schedule(STEPS), texts, null, guidance))
        return torch.cat([model.decode(part) for part in z.split(16)])


def share(found: Sequence[bool | None]) -> str:
    """Of those that could be judged, in percent."""
    known = [value for value in found if value is not None]
    return f"{100 * sum(known) / len(known):.0f} %" if known else "-"


if __name__ == "__main__":
    main()
