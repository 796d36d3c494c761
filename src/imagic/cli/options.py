"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from imagic.cli.values import MOST_SEEDS

ImageFile: TypeAlias = Annotated[Path, typer.Argument(help="The picture to edit.", metavar="IMAGE", show_default=False)]
Method: TypeAlias = Annotated[str | None, typer.Option(help="The method, imagic unless named; see `imagic methods`.")]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(help="An alias, folder, .safetensors file or hub id, menagerie unless named; see `imagic models`."),
]
Preset: TypeAlias = Annotated[str | None, typer.Option(help="Such as fast or paper; see `imagic methods`.")]
SourceText: TypeAlias = Annotated[
    str | None,
    typer.Option("--source", metavar="TEXT", help="What the input shows now; helps, and the fit serves many texts."),
]
Crop: TypeAlias = Annotated[
    str | None, typer.Option(metavar="X,Y,W,H", help="Edit this part of the picture only, in pixels.")
]
Feather: TypeAlias = Annotated[
    float | None, typer.Option(help="Soften the mask's inner edge over this share of the side (0.02).")
]
InvertMask: TypeAlias = Annotated[bool, typer.Option("--invert-mask", help="Change what lies outside the mask.")]
Seed: TypeAlias = Annotated[int, typer.Option(help="Of the fit and of the first image.", min=0)]
NumSeeds: TypeAlias = Annotated[
    int, typer.Option(help="How many seeds, counting up from --seed, a result for each.", min=1, max=MOST_SEEDS)
]
Strength: TypeAlias = Annotated[
    str, typer.Option("--strength", "--eta", help="auto, a number (0.7), or a range (0:1:0.1), a result for each.")
]
Plain: TypeAlias = Annotated[
    bool, typer.Option("--plain", help="Enlarge the model's result instead of laying the change over the input.")
]
Settings: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any option of the method; repeatable.")
]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]
Device: TypeAlias = Annotated[str | None, typer.Option(help="cpu, cuda, ...; else a GPU where there is one.")]
Dtype: TypeAlias = Annotated[
    str | None, typer.Option(help="float32, float16 or bfloat16; else float32, on a GPU bfloat16 for large models.")
]
