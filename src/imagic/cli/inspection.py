"""`imagic redo` and `imagic inspect`: what a picture or a state says about its own making."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagic.cli import keeping
from imagic.cli import options as given
from imagic.cli.edit import describe
from imagic.cli.loading import Loading, loads_a_model
from imagic.cli.marking import Marks, marks_pictures
from imagic.cli.naming import free
from imagic.cli.show import busy, emit_json, progress_bars, say, warn

if TYPE_CHECKING:
    from imagic.core.images import Picture


@loads_a_model
@marks_pictures
def redo(
    made: Annotated[Path, typer.Argument(metavar="OUT", help="A picture that imagic made.")],
    image: Annotated[Path, typer.Option(help="The picture that it was made from.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; else beside OUT.")] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask that it was made with, if one was given.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's folder, where it is not a bundled model.")] = None,
    overwrite: given.Overwrite = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    checkpoint: keeping.Checkpoint = None,
    checkpoint_seconds: keeping.CheckpointSeconds = keeping.SECONDS,
    *,
    loading: Loading,
    marks: Marks,
) -> None:
    """Make a picture again from what is written in it, and compare the pixels: exit code 1 where they differ."""
    from imagic import api
    from imagic.core.errors import ImagicError
    from imagic.core.images import read_image
    from imagic.core.masks import as_mask
    from imagic.core.provenance import check_output, read_record

    record = read_record(made)
    picture = read_image(image)
    record.check_input(picture)
    given_mask = None if mask is None else as_mask(mask, picture)
    record.check_mask(given_mask)
    path = out or free([made.with_name(f"{made.stem}-redone{made.suffix}")])[0]
    check_output(path, picture, overwrite)
    signer = marks.signer(image)
    then = read_image(made)
    started = time.monotonic()
    # A CPU and a GPU round differently: what was made on the CPU is made again there.
    where = device or ("cpu" if record.device == "cpu" else None)
    with busy("Loading the model"):
        backbone = api.load_model(model or record.model, where, dtype or record.dtype, **loading)
    # A fit that was kept proves nothing about making it again.
    cache = keeping.cache_of(True, checkpoint or "auto", checkpoint_seconds)
    with progress_bars() as update:
        edited = api.redo(record, picture, mask=given_mask, model=backbone, cache=cache, on_progress=update)
    for sentence in edited.warnings:
        warn(sentence)
    edited.save_each([path], overwrite, marks.metadata, signer)
    now = edited.picture(0)
    # JPEG alters every pixel a little, so there is nothing to compare with.
    same = None if then.format == "JPEG" else now.pixels_sha256 == then.pixels_sha256
    if as_json:
        emit_json(describe(edited, [path], {"redo": time.monotonic() - started}) | {"same_pixels": same})
    else:
        typer.echo(path)
    if same is None:
        say(f"{made.name} is a JPEG, whose pixels cannot be compared with the new ones.")
    elif same:
        say(f"The pixels are those of {made.name}.")
    else:
        raise ImagicError(f"The new pixels differ from those of {made.name} ({_difference(then, now)}).")


def _difference(then: Picture, now: Picture) -> str:
    """How two pictures differ, in words."""
    if then.rgb.shape != now.rgb.shape or (then.alpha is None) != (now.alpha is None):
        return "another size, or other transparency"
    steps = abs(then.rgb.astype(int) - now.rgb).max(axis=-1)
    return f"{(steps > 0).mean():.2%} of them, by at most {steps.max()} of 255 steps"


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture, or a state (.safetensors).")],
    as_json: given.AsJson = False,
) -> None:
    """Show what is written in a picture or a state."""
    facts = _state_facts(file) if file.suffix.lower() == ".safetensors" else _picture_facts(file)
    if as_json:
        emit_json({"version": 1, **facts})
    else:
        _print_table(facts)


def _picture_facts(path: Path) -> dict[str, Any]:
    from imagic.core.declaration import read_declaration
    from imagic.core.errors import ImageError
    from imagic.core.images import decode_image, open_image, read_bytes
    from imagic.core.provenance import read_record

    data = read_bytes(path)
    image = open_image(data, path.name)
    credentials = _credentials(data, image.format or "")
    try:
        picture = decode_image(data, path.name)
    except ImageError as error:
        if credentials["content_credentials"] is None:
            raise
        # Damage is a change, too: whether it came after signing is what was asked.
        return {"kind": "picture", "format": image.format, "damage": str(error), **credentials}
    facts = {
        "kind": "picture",
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
        "alpha": picture.alpha is not None,
        "sha256": picture.sha256,
        "pixels_sha256": picture.pixels_sha256,
        "notes": list(picture.notes),
        "declares": read_declaration(image),
        **credentials,
    }
    try:
        return facts | {"record": json.loads(read_record(path).to_json())}
    except ImageError as error:
        return facts | {"record": None, "no_record_because": str(error)}


def _credentials(data: bytes, format: str) -> dict[str, Any]:
    """What its Content Credentials say, and whether they hold."""
    from imagic.core.errors import NotAvailable
    from imagic.signing import verify

    try:
        found = verify(data, "image/jpeg" if format == "MPO" else f"image/{format.lower()}")
    except NotAvailable as reason:
        return {"content_credentials": None, "no_content_credentials_because": str(reason)}
    if found is None:
        return {"content_credentials": None, "no_content_credentials_because": f"There are none in this {format}."}
    return {"content_credentials": {"verdict": found.sentence, "intact": found.intact, **asdict(found)}}


def _state_facts(path: Path) -> dict[str, Any]:
    from imagic.core.state import load_state

    state = load_state(path)
    return {
        "kind": "state",
        "method": state.method,
        "tensors": len(state.tensors),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in state.tensors.values()),
        "facts": dict(state.facts),
    }


def _print_table(facts: dict[str, Any], indent: str = "") -> None:
    """One line per fact. Values as JSON, so that what a file says cannot send control codes to the terminal."""
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{json.dumps(name)[1:-1]}:")
            _print_table(value, indent + "  ")
        else:
            typer.echo(f"{indent}{json.dumps(name)[1:-1]}: {json.dumps(value, ensure_ascii=True)}")
