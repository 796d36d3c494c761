"""Names of results: what a template gives, and that none leads out of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagic.batch.naming import FIELDS, check_name, check_template, default_template, filled
from imagic.core.errors import OptionError

VALUES = {"stem": "dog", "text": "a-cat", "method": "imagic", "number": "0003", "seed": "7", "strength": "0.5"}
VALUES["eta"] = VALUES["strength"]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}-{seed}.png", "dog-7.png"),
        ("{stem}", "dog.png"),
        ("{stem}-{eta}", "dog-0.5.png"),
        ("one", "one.png"),
        ("{method}/{text}/{number}-eta{eta}.webp", "imagic/a-cat/0003-eta0.5.webp"),
        (default_template(False, False), "dog-a-cat.png"),
        (default_template(True, True), "dog-a-cat-eta0.5-seed7.png"),
    ],
)
def test_a_template_is_filled(template: str, name: str) -> None:
    check_template(template)
    assert filled(template, VALUES) == name


@pytest.mark.parametrize("template", ["{stem", "{}", "{0}", "{stem.__class__}", "{seed:99999}", "{stem!r}", "{user}"])
def test_a_template_holds_plain_fields_alone(template: str) -> None:
    with pytest.raises(OptionError):
        check_template(template)


@pytest.mark.parametrize(
    "name",
    ["", "/etc/dog.png", "../dog.png", "a/../../dog.png", "a//dog.png", "./dog.png", ".dog.png", "a/.b/dog.png",
     "dog/", "a\\..\\dog.png", "C:dog.png", "dog\0.png", "dog\n.png", "dog.gif", "dog.png.exe", "\udc80.png",
     "a" * 300 + ".png"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(OptionError):
        check_name(name)


@given(st.fixed_dictionaries({field: st.text(max_size=20) for field in FIELDS}), st.sampled_from(FIELDS))
def test_whatever_a_table_says_the_result_lies_in_the_folder(values: dict[str, str], field: str) -> None:
    folder = Path("/results")
    try:
        name = filled(f"{{{field}}}/{{{field}}}-x.png", values)
    except OptionError:
        return
    path = Path(*[part for part in (folder / name).parts if part != "."])
    assert ".." not in path.parts
    assert path.is_relative_to(folder)
    assert not any(part.startswith(".") for part in path.relative_to(folder).parts)
