"""Names of results, from a template; each is a file in the folder of the results, whatever a table asks for."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath

from imagic.core.errors import OptionError

FIELDS = ("stem", "text", "method", "number", "seed", "strength", "eta")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
LONGEST_NAME = 255  # bytes of a part, on most file systems


def default_template(several_strengths: bool, several_seeds: bool) -> str:
    """As `imagic edit` names results, with what differs between those of one picture and text."""
    return "{stem}-{text}" + "-eta{eta}" * several_strengths + "-seed{seed}" * several_seeds + ".png"


def check_template(template: str) -> None:
    """Raises OptionError for a template that has other fields than FIELDS, or anything else than plain ones."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise OptionError(
            f"The name '{template}' cannot be read ({error}): write such as {{stem}}-{{seed}}.png."
        ) from error
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise OptionError(f"The name '{template}' may hold {known}, and no other braces.")


def filled(template: str, values: Mapping[str, str]) -> str:
    """The name, relative to the folder, with .png where the template has no ending. values: of all FIELDS; what could
    lead out of the folder becomes a dash.

    Raises OptionError as `check_name`."""
    safe = {field: re.sub(r"[/\\:\x00-\x1f\x7f]", "-", value) for field, value in values.items()}
    ending = "" if "." in template.rpartition("}")[2] else ".png"  # a strength has a dot too
    return check_name(template.format(**safe) + ending)


def check_name(name: str) -> str:
    """The name, with .png where it has no ending, if it is one of a picture within the folder.

    Raises OptionError for an absolute one, one with "..", a hidden part, control characters or backslashes, one that is
    too long, and one that does not end as a picture that imagic writes.
    """
    path = PurePosixPath(name)
    parts = name.split("/")
    if (
        not all(parts)
        or any(part.startswith(".") or len(part.encode(errors="replace")) > LONGEST_NAME for part in parts)
        or re.search(r"[\\\x00-\x1f\x7f\ud800-\udfff]", name)
        or PureWindowsPath(name).drive
    ):
        raise OptionError(
            f"{name[:80]!r} is no name within the folder of results: write such as dog.png or dogs/dog.png."
        )
    if not path.suffix:
        return check_name(f"{name}.png")
    if path.suffix.lower() not in ENDINGS:
        raise OptionError(f"{name[:80]!r} must end in .png, .jpg or .webp.")
    return name
