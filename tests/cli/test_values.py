"""The values of options are read as the help says, and a wrong one is a usage error that repeats it."""

import pytest
import typer

from imagic.cli.values import parse_crop, parse_settings, parse_strength


def test_an_eta_is_auto_a_number_or_a_range_with_both_ends() -> None:
    assert parse_strength("auto") == "auto"
    assert parse_strength("0.7") == 0.7
    assert parse_strength("-0.5") == -0.5
    assert parse_strength("0:1:0.1") == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert parse_strength("0:1:0.3") == (0.0, 0.3, 0.6, 0.9)
    assert parse_strength("0.5:0.5:1") == (0.5,)


@pytest.mark.parametrize(
    "text", ["", "automatic", "0:1", "0:1:0", "1:0:0.1", "0:1:-0.1", "nan", "0:inf:1", "0:1:0.001"]
)
def test_a_wrong_eta_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--eta"):
        parse_strength(text)


def test_a_crop_is_four_whole_numbers() -> None:
    assert parse_crop(None) is None
    assert parse_crop("1,2,30,40") == (1, 2, 30, 40)
    for text in ("1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,0,3,4"):
        with pytest.raises(typer.BadParameter, match="--crop"):
            parse_crop(text)


def test_settings_are_json_where_they_read_as_json_and_text_otherwise() -> None:
    pairs = ["a=1", "b=0.5", "c=true", "d=null", "e=lora", "f=[1, 2]", "g=x=y"]
    assert parse_settings(pairs) == {"a": 1, "b": 0.5, "c": True, "d": None, "e": "lora", "f": [1, 2], "g": "x=y"}
    assert parse_settings(["h=" + "[" * 100_000]) == {"h": "[" * 100_000}
    for pair in ("steps", "=3"):
        with pytest.raises(typer.BadParameter, match="--set"):
            parse_settings([pair])
