"""One edit of many: what a line of a table asks for, completed by the command's options, checked before any work."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imagic import api
from imagic._asked import follows_instructions
from imagic.batch import naming
from imagic.core import registry
from imagic.core.errors import OptionError, TextError
from imagic.core.options import build_options, preset_values
from imagic.core.seeds import SEED_LIMIT
from imagic.core.slug import slug
from imagic.core.types import Method

# Tasks that one worker takes at a time of those that share a fit: few enough that others can help with many seeds.
MOST_TOGETHER = 16

Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]


class Line(BaseModel):
    """A line of a table. Only `image` must be there; the rest is the command's, or the method's. Any further column is
    an option of the method by its name."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    image: Annotated[str, Field(min_length=1)]
    text: str = ""
    source_text: str = ""
    instruction: str = ""
    mask: str = ""
    method: str = ""
    preset: str = ""
    seed: Seed | None = None
    fit_seed: Seed | None = None
    strength: Literal["auto"] | float | None = None
    eta: Literal["auto"] | float | None = None
    crop: tuple[int, int, int, int] | None = None
    plain: bool | None = None
    output: str = ""


@dataclass(frozen=True)
class Defaults:
    """What the command's options say, for lines that do not. strengths, num_seeds: a job for each; a strength of None
    is the method's own. mask: "auto", or an absolute path, since tables have folders of their own. name: the template;
    "" as naming.default_template has it."""

    text: str = ""
    source_text: str = ""
    method: str = api.DEFAULT_METHOD
    preset: str = ""
    seed: int = 0
    num_seeds: int = 1
    strengths: tuple[float | None, ...] = (None,)
    crop: tuple[int, int, int, int] | None = None
    plain: bool = False
    mask: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def template(self) -> str:
        return self.name or naming.default_template(len(self.strengths) > 1, self.num_seeds > 1)


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to be made, all values plain. image, mask: relative to `root`, or absolute; mask may be "auto".
    fit_seed: of the fit, seed: of the picture. strength: None is the method's own. output: relative to the folder of
    the results."""

    root: str
    image: str
    text: str
    source_text: str
    mask: str
    method: str
    preset: str
    fit_seed: int
    seed: int
    strength: float | None
    crop: tuple[int, int, int, int] | None
    plain: bool
    options: Mapping[str, Any]
    output: str

    def values(self) -> dict[str, Any]:
        """The fields by name."""
        return {name: getattr(self, name) for name in Job.__slots__}

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Job:
        """The job whose `values` went through JSON."""
        return cls(**{**values, "crop": values["crop"] and tuple(values["crop"])})

    def asked(self, settings: Mapping[str, Any]) -> str:
        """A hash of what is asked for, the same wherever the pictures lie. settings: of the whole run, such as the
        model."""
        return _digest(self.values() | {"root": "", "settings": settings})

    def fit_key(self) -> str:
        """The same for jobs that one fit serves."""
        of_fit, _ = api.split_options(_method(self.method), self.options)
        values = self.values() | {"options": of_fit}
        for name in ("seed", "strength", "mask", "plain", "output"):
            del values[name]
        return _digest(values)


def jobs_of(line: Line, number: int, root: Path, defaults: Defaults) -> list[Job]:
    """The jobs of a line: one for each strength and seed. number: of the line, for its name. root: what paths in it are
    relative to, absolute.

    Raises TextError without a text, and OptionError for an unknown method, preset or option, a value out of its range,
    or a name that leads out of the folder.
    """
    method = line.method or defaults.method
    editor = _method(method)
    text = line.text or defaults.text
    if follows_instructions(editor):
        text = line.instruction or text
    if not text:
        raise TextError("There is no text: give one in the table, beside the picture, or with --text.")
    api.check_text(text)
    source_text = line.source_text or defaults.source_text
    if source_text:
        api.check_text(source_text)
    options = {**defaults.options, **(line.model_extra or {})}
    first = defaults.seed if line.seed is None else line.seed
    mask = line.mask or defaults.mask
    jobs = []
    for strength in _strengths(line, defaults):
        _check(method, line.preset or defaults.preset, json.dumps(options, sort_keys=True), strength)
        for seed in range(first, first + defaults.num_seeds):
            shown = "auto" if strength is None else f"{strength:g}"
            values = {"stem": Path(line.image).stem, "text": slug(text), "method": method, "number": f"{number:04d}"}
            values |= {"seed": str(seed), "strength": shown, "eta": shown}
            jobs.append(
                Job(
                    root=str(root),
                    image=line.image,
                    text=text,
                    source_text=source_text,
                    mask=mask,
                    method=method,
                    preset=line.preset or defaults.preset,
                    fit_seed=first if line.fit_seed is None else line.fit_seed,
                    seed=seed,
                    strength=strength,
                    crop=line.crop or defaults.crop,
                    plain=defaults.plain if line.plain is None else line.plain,
                    options=options,
                    output=naming.check_name(line.output)
                    if line.output
                    else naming.filled(defaults.template(), values),
                )
            )
    return jobs


@functools.cache
def _method(name: str) -> Method:
    """Methods keep nothing between calls, and looking one up takes milliseconds."""
    return registry.method(name)


def _strengths(line: Line, defaults: Defaults) -> tuple[float | None, ...]:
    asked = [value for value in (line.strength, line.eta) if value is not None]
    if len(asked) > 1:
        raise OptionError("Give either strength or eta, which are one thing, not both.")
    if not asked:
        return defaults.strengths
    return (None,) if asked[0] == "auto" else (float(asked[0]),)


@functools.lru_cache(maxsize=1024)  # a table asks for few different things
def _check(method: str, preset: str, options: str, strength: float | None) -> None:
    """Raises OptionError as `imagic edit` would, before its work."""
    editor = _method(method)
    of_fit, of_edit = api.split_options(editor, json.loads(options))
    build_options(editor.FitOptions, {**preset_values(editor, preset), **of_fit})
    api.edit_options(editor, of_edit, "auto" if strength is None else strength)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
