"""The options that say how a model is loaded, for every command that loads one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import typer

from imagic.cli.bundles import takes

# The keywords of api.load_model, beside model, device and dtype.
Loading: TypeAlias = Mapping[str, Any]


def _option(help: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel="Loading a model")


def _options(
    *,
    variant: Annotated[str, _option("Of the weight files, such as fp16.")] = "",
    revision: Annotated[str, _option("A branch, tag or commit of the hub.")] = "",
    lora: Annotated[list[str] | None, _option("Added to the weights; repeatable.", metavar="FILE[:WEIGHT]")] = None,
    config: Annotated[
        str | None, _option("For a single file: a model with its configs and tokenizers.", metavar="MODEL")
    ] = None,
    allow_pickle: Annotated[
        bool, _option("Read pickled weights too, if you trust who made them.", "--allow-pickle")
    ] = False,
    quantise_text: Annotated[str, _option("T5 text encoders, to save memory.", metavar="8bit|4bit")] = "",
    offload: Annotated[
        bool, _option("Keep text encoders and autoencoder on the CPU until they are used.", "--offload")
    ] = False,
) -> Loading:
    return {
        "variant": variant,
        "revision": revision,
        "loras": tuple(lora or ()),
        "config": config,
        "allow_pickle": allow_pickle,
        "quantise_text": quantise_text,
        "offload": offload,
    }


loads_a_model = takes("loading", _options)
