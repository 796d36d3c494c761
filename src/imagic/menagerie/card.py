"""The model card: README.md in the folder of the weights, as model hubs show it (Mitchell et al. 2019).

No figure in it is made up: scores were measured by `imagic menagerie score --json`, sizes are those of the files, and
the facts of the training come from who ran it. What is not known is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import EvalResult, ModelCardData

from imagic.core.errors import ModelError, OptionError
from imagic.core.files import write_bytes
from imagic.menagerie.captions import MAX_WORDS
from imagic.menagerie.facts import SPECIES
from imagic.menagerie.render import IMAGE_SIZE
from imagic.menagerie.retrieval import FINDS_PICTURE
from imagic.menagerie.score import ALL, EACH, PSNR, READS, Score, best_guidance, table
from imagic.menagerie.training import helpers

FILE = "README.md"
MEGABYTE = 10**6

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingRun:
    """How a part was trained; None for what is not known.

    command: as it was typed. commit: of the code. seconds: on the clock. images: training pictures seen, repeated ones
    counted again.
    """

    part: str
    command: str | None = None
    commit: str | None = None
    seed: int | None = None
    hardware: str | None = None
    seconds: float | None = None
    images: int | None = None


def write_card(
    folder: Path, scores: Sequence[Score] = (), runs: Sequence[TrainingRun] = (), scored_by: str | None = None
) -> Path:
    """Writes README.md into the model's folder, over an earlier one, and returns its path.

    It also tells of the judge and the CLIP in the folders beside. scored_by: the command that measured the scores.
    Raises ModelError when the folder holds no weights.
    """
    sizes = _weights(folder)
    if not sizes:
        raise ModelError(f"There are no weights in {folder}; name the folder that holds the exported model.")
    for part in BESIDE:
        sizes |= {f"../{part}/{name}": size for name, size in _weights(folder.parent / part).items()}
    notes = {**WITHIN, **BESIDE}
    what = [WHAT, *(note for part, note in notes.items() if any(f"{part}/" in name for name in sizes))]
    sections = [_front_matter(scores), *what, _sizes(sizes), _training(runs), _scores(scores, scored_by), LIMITS, BIAS]
    path = folder / FILE
    write_bytes(path, "\n".join(section for section in sections if section).encode(), overwrite=True)
    return path


def read_scores(path: Path) -> list[Score]:
    """The scores in a file made by `imagic menagerie score --json`. Raises OptionError for another file."""
    return _read(path, "scores", Score)


def read_runs(path: Path) -> list[TrainingRun]:
    """The runs in a JSON file such as {"runs": [{"part": "vae", "seconds": 3600}]}. Raises OptionError for another."""
    return _read(path, "runs", TrainingRun)


def _read(path: Path, key: str, kind: type[T]) -> list[T]:
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))[key]
        return [kind(**row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{path} cannot be read as a JSON file of {key} ({error}); choose another file.") from error


def _weights(folder: Path) -> dict[str, int]:
    """The files of weights that ship, with their bytes."""
    files = [path for path in sorted(folder.rglob("*.safetensors")) if path.parent.name != helpers.FOLDER]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _front_matter(scores: Sequence[Score]) -> str:
    results = [
        EvalResult(
            task_type="text-to-image",
            dataset_type="menagerie",
            dataset_name="Held-out scenes of the menagerie",
            metric_type=metric,
            metric_name=each.name,
            metric_value=round(each.value, 4),
        )
        for metric, each in _headlines(scores)
    ]
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["stable-diffusion", "image-editing", "imagic", "synthetic"],
        model_name="menagerie" if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _headlines(scores: Sequence[Score]) -> list[tuple[str, Score]]:
    """The few scores that a hub may list, each with the hub's name of its metric."""
    best = best_guidance(scores)
    return [
        ("psnr" if each.name == PSNR else "accuracy", each)
        for each in scores
        if (each.name, each.fact) in {(READS, EACH), (PSNR, ALL), (FINDS_PICTURE, ALL)}
        or (each.fact == EACH and each.guidance_scale is not None and each.guidance_scale == best)
    ]


def _sizes(sizes: dict[str, int]) -> str:
    apart = ("..", *WITHIN)  # what is no part of a text-to-image model
    own = {name: size for name, size in sizes.items() if not name.startswith(apart)}
    beside = {name: size for name, size in sizes.items() if name not in own}
    rows = [*_rows(own), _row("the model", sum(own.values())), *_rows(beside)]
    return "\n".join(["## Sizes", "", "| file | MB |", "|---|---|", *rows, ""])


def _rows(sizes: dict[str, int]) -> list[str]:
    return [_row(f"`{name}`", size) for name, size in sizes.items()]


def _row(name: str, size: int) -> str:
    return f"| {name} | {size / MEGABYTE:.2f} |"


def _training(runs: Sequence[TrainingRun]) -> str:
    columns = {
        "command": [f"`{run.command}`" if run.command else "" for run in runs],
        "commit": [f"`{run.commit}`" if run.commit else "" for run in runs],
        "seed": ["" if run.seed is None else str(run.seed) for run in runs],
        "hardware": [run.hardware or "" for run in runs],
        "time": ["" if run.seconds is None else _duration(run.seconds) for run in runs],
        "images seen": ["" if run.images is None else f"{run.images:,}" for run in runs],
    }
    known = {name: cells for name, cells in columns.items() if any(cells)}
    if not known:
        return ""
    rows = [f"| {' | '.join((run.part, *(known[name][row] for name in known)))} |" for row, run in enumerate(runs)]
    head = [f"| {' | '.join(('part', *known))} |", "|---" * (len(known) + 1) + "|"]
    return "\n".join(["## Training", "", TRAINING, "", *head, *rows, ""])


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _scores(scores: Sequence[Score], scored_by: str | None) -> str:
    if not scores:
        return ""
    lines = ["## Scores", "", f"{SCORED}{f' Measured by `{scored_by}`.' if scored_by else ''}", "", table(scores)]
    best = best_guidance(scores)
    if best is not None:
        lines += [f"Of the guidance scales tried, generations agree best with their captions at {best:g}.", ""]
    return "\n".join(lines)


WHAT = f"""# The menagerie's model

A small latent diffusion model that draws animals from a sentence, at {IMAGE_SIZE} x {IMAGE_SIZE} pixels, in the
ordinary layout of diffusers' `StableDiffusionPipeline`. It was trained from scratch on pictures that a renderer draws,
and on no photograph, artwork or text by anybody. It is the demonstration, the test model and the benchmark of `imagic`.

```bash
imagic edit picture.png "a sitting dog" -o sitting.png
```
"""

WITHIN = {
    "instruct": """In `instruct` lies what turns the UNet into one that follows instructions, as in InstructPix2Pix: an
input layer that also takes the latents of the picture, and a LoRA on the other layers. It fits this UNet alone.
""",
}

BESIDE = {
    "judge": """In `../judge` lies the judge: it reads the facts of a scene back from a picture and tells individuals
apart; it scores, and never edits.
""",
    "clip": """In `../clip` lies a small CLIP in the layout of transformers' `CLIPModel`. It says how well a picture of
this world fits a text, as a metric and as the loss of Text2LIVE; its figures compare with no other CLIP's.
""",
}

TRAINING = "Scenes are drawn while training runs; nothing else is downloaded or read."

SCORED = (
    'On scenes that training never sees. "each" is the mean over all facts, "all" the share of pictures in which every '
    "one is right."
)

LIMITS = f"""## Limits

- It knows this drawn world and nothing else: a photograph, or an animal that is not in the list, is drawn as if it
  belonged to this world. How well a method edits photographs cannot be concluded from it.
- Texts are plain English in the words of its captions. Other words are spelt in pieces and mean nothing to it; what
  goes beyond about {MAX_WORDS} words is cut off.
- The judge has learned from pictures of the renderer, softened and noised; it may misread what no renderer draws. The
  held-out scenes come from the same renderer as the others.
"""

BIAS = f"""## Bias

- Animals: {", ".join(SPECIES)}; no people. Only birds are blue, red or yellow.
- One animal is far more frequent than two, and two are always of one species, colour and posture.
- The plain style is far more frequent than the others; hats, scarves, balls, trees and fences are in a minority of
  scenes. Where a text leaves a fact open, the model follows these frequencies.
- Some combinations of species, colour and place are kept from training, to test on.
"""
