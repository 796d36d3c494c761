"""What a client may ask, strictly typed: no value is guessed from one of another type, and nothing unknown is taken."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imagic.api import LONGEST_TEXT
from imagic.core.errors import ImageError, OptionError
from imagic.core.seeds import SEED_LIMIT
from imagic.core.types import Method

MOST_SEEDS = 16
MOST_STRENGTHS = 21

Number = Annotated[float, Field(allow_inf_nan=False)]
Strength = Literal["auto"] | Number | Annotated[list[Number], Field(min_length=1, max_length=MOST_STRENGTHS)]
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Scalar = bool | int | Number | Annotated[str, Field(max_length=LONGEST_TEXT)] | None
Options = Annotated[
    dict[Name, Scalar | Annotated[list[Scalar], Field(max_length=MOST_STRENGTHS)]],
    Field(max_length=64, description="The method's options by name; see /methods.", examples=[{"num_steps": 20}]),
]
Picture = Annotated[str, Field(min_length=4, description="A picture's file, as base64.")]
Mask = Annotated[
    str | None,
    Field(description='Where the picture may change: a picture as base64, white may; or "auto", found by the texts.'),
]
Side = Annotated[int, Field(ge=0, lt=2**31)]


class Rendering(BaseModel):
    """What an edit from a finished fit takes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    strength: Annotated[Strength, Field(description="How far the edit goes; several give a picture each.")] = "auto"
    eta: Annotated[Strength, Field(description="`strength` under Imagic's name.")] = "auto"
    seed: Annotated[int, Field(ge=0, lt=SEED_LIMIT - MOST_SEEDS)] = 0
    num_seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS, description="How many, counting up from `seed`.")] = 1
    plain: Annotated[bool, Field(description="Enlarge the model's result instead of laying it over the input.")] = False
    mask: Mask = None
    options: Options = {}
    metadata: Annotated[bool, Field(description="Write into the pictures how they were made.")] = True


class EditRequest(Rendering):
    """A new edit."""

    image: Picture
    text: Annotated[Text, Field(description="What the result shows.", examples=["a sitting dog"])]
    method: Name = "imagic"
    model: Annotated[str | None, Field(max_length=200, description="The served model's name; see /models.")] = None
    preset: Annotated[str, Field(max_length=64)] = ""
    source_text: Annotated[str, Field(max_length=LONGEST_TEXT, description="What the input shows.")] = ""
    crop: Annotated[
        tuple[Side, Side, Side, Side] | None, Field(description="The part to edit: left, top, width, height.")
    ] = None


class AgainRequest(Rendering):
    """Another edit from a finished fit. What is left out stays as it was."""

    text: Annotated[Text | None, Field(description="Another text, where the method and its fit allow it.")] = None


def decoded(value: str, name: str) -> bytes:
    """The bytes behind base64. Raises ImageError."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"{name} is not valid base64; encode the bytes of an image file.") from error


def digest(*parts: Mapping[str, Any] | bytes | str | None) -> str:
    """A hash of all that was asked, equal for equal requests whatever form they came in."""
    found = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        found.update(hashlib.sha256(data).digest())
    return found.hexdigest()


def check_no_files(method: Method, values: Mapping[str, Any]) -> None:
    """Raises OptionError for an option that may name a file or folder of this machine: a string of free form that is no
    text, instruction or word."""
    for kind in (method.FitOptions, method.EditOptions):
        for field in dataclasses.fields(kind):
            value = values.get(field.name, field.default)
            strings = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
            if strings and value != field.default and not _names_no_file(field):
                raise OptionError(f"The option '{field.name}' cannot be set here, since it may name a file.")


def settable(options: type) -> set[str]:
    """The options that `check_no_files` lets pass whatever their value."""
    hints = typing.get_type_hints(options)
    takes_strings = {name for name, hint in hints.items() if str in (hint, *typing.get_args(hint))}
    return {f.name for f in dataclasses.fields(options) if f.name not in takes_strings or _names_no_file(f)}


def _names_no_file(field: dataclasses.Field[Any]) -> bool:
    is_text = field.name.endswith("text") or field.name in ("instruction", "token")
    return is_text or bool(field.metadata.get("choices"))
