"""`imagic methods` and `imagic models`: what there is to choose from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from imagic.cli import options as given
from imagic.cli.show import emit_json


def methods(
    name: Annotated[str | None, typer.Argument(help="Only this method, with its options.")] = None,
    as_json: given.AsJson = False,
) -> None:
    """List the editing methods: what each needs from a model, and its options with defaults and bounds."""
    from imagic.core import registry
    from imagic.core.describing import describe_method

    names = registry.names(registry.Group.METHODS) if name is None else (name,)
    facts = [describe_method(registry.method(each)) for each in names]
    if as_json:
        emit_json({"version": 1, "methods": facts})
        return
    for method in facts:
        typer.echo(f"{method['name']}  ({method['paper']})")
        typer.echo(f"  needs texts: {', '.join(method['texts'])}")
        typer.echo(f"  needs a model with: {', '.join(method['needs']) or 'nothing special'}")
        for preset, values in method["presets"].items():
            listed = ", ".join(f"{key}={value}" for key, value in values.items()) or "the defaults"
            typer.echo(f"  --preset {preset}: {listed}")
        for title, options in (("fitting", method["fit"]), ("editing", method["edit"])):
            typer.echo(f"  options for {title} (--set name=value):")
            for option in options:
                typer.echo(f"    {option['name']} = {option['default']}  {_bounds(option)}")
                typer.echo(f"        {option['help']}")


def _bounds(option: dict[str, Any]) -> str:
    if option["choices"]:
        return f"[{' | '.join(option['choices'])}]"
    low, high = option["minimum"], option["maximum"]
    if low is None and high is None:
        return f"[{option['type']}]"
    return f"[{option['type']}, {'' if low is None else low} to {'' if high is None else high}]"


def models(as_json: given.AsJson = False) -> None:
    """List the models that travel in the package, the short names of models on the hub, and the families."""
    from imagic.backbones.loading import ALIASES, BUNDLED, locate
    from imagic.core import registry
    from imagic.core.errors import ModelError

    facts: list[dict[str, Any]] = []
    for name in BUNDLED:
        try:
            size = sum(path.stat().st_size for path in locate(name).rglob("*") if path.is_file())
            facts.append({"name": name, "installed": True, "bytes": size})
        except ModelError:
            facts.append({"name": name, "installed": False, "bytes": 0})
    families = registry.names(registry.Group.BACKBONES)
    if as_json:
        emit_json({"version": 1, "models": facts, "aliases": ALIASES, "families": list(families)})
        return
    for model in facts:
        state = f"{model['bytes'] / 1e6:.0f} MB" if model["installed"] else "missing; install imagic again"
        typer.echo(f"{model['name']}  (bundled, {state})")
    for alias, model_id in ALIASES.items():
        typer.echo(f"{alias}  (downloaded when named, {model_id})")
    typer.echo(
        "or --model NAME: a folder in a diffusers pipeline layout, a .safetensors file with --config, or an id on the"
        f" Hugging Face hub; of the family {', '.join(families)}"
    )
