"""Records survive every format, tell nothing about the machine, and are not trusted when read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin, PngImagePlugin

from imagic.core.errors import ImageError, OutputError
from imagic.core.frame import Box, Frame
from imagic.core.images import Picture, read_image
from imagic.core.provenance import (
    MAX_RECORD,
    Record,
    check_output,
    portable,
    portable_model_name,
    read_record,
    write_image,
)

WIDTH, HEIGHT = 40, 30
FORMATS = ["out.png", "out.jpg", "out.jpeg", "out.webp", "OUT.PNG"]


def picture(alpha: bool = False, seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    return Picture(pixels[:, :, :3].copy(), pixels[:, :, 3].copy() if alpha else None)


def values(**changes: Any) -> dict[str, Any]:
    return {
        "package_version": "0.1.0",
        "method": "imagic",
        "model": "menagerie",
        "model_fingerprint": "0123456789abcdef" * 4,
        "target_text": 'a sitting dog, "größer"\nSteps: 9',
        "preset": "fast",
        "fit_options": {"steps": 100, "rate": 1e-3, "parts": ("attn", "mid"), "lora": None, "joint": True},
        "edit_options": {"num_steps": 50, "guidance_scale": 7.5, "sampler": "ddim"},
        "fit_seed": 3,
        "seed": 2**63 - 1,
        "strength": 0.1 + 0.2,
        "dtype": "float32",
        "device": "cpu",
        "versions": {"torch": "2.13.0"},
        "input_sha256": "ab" * 32,
        "input_pixels_sha256": picture().pixels_sha256,
        "width": WIDTH,
        "height": HEIGHT,
        "side": 128,
        "crop": (1, 2, 20, 20),
    } | changes


def record(**changes: Any) -> Record:
    return Record(**values(**changes))


def damaged(**changes: Any) -> str:
    """The JSON of a record with some fields changed past what a Record would hold."""
    return json.dumps({**json.loads(record().to_json()), **changes})


def test_json_gives_the_same_record_back() -> None:
    assert Record.from_json(record().to_json()) == record()
    assert Record.from_json(record(crop=None).to_json().encode()) == record(crop=None)
    assert json.loads(record().to_json())["schema_version"] == 1
    assert record().to_json().isascii()


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    strength=st.floats(allow_nan=False, allow_infinity=False),
    options=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=4,
    ),
)
def test_any_text_number_and_option_survives(text: str, strength: float, options: dict[str, Any]) -> None:
    made = record(target_text=text, strength=strength, edit_options=options)
    again = Record.from_json(made.to_json())
    assert again == made
    assert {name: type(value) for name, value in again.edit_options.items()} == {
        name: type(value) for name, value in options.items()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_every_output_format_carries_the_record(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, picture(), record())
    assert read_record(tmp_path / name) == record()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_programs_find_the_parameters(tmp_path: Path) -> None:
    for name in ("out.png", "out.jpg", "out.webp"):
        write_image(tmp_path / name, picture(), record())
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["parameters"] == record().parameters()
    for name in ("out.jpg", "out.webp"):
        with Image.open(tmp_path / name) as image:
            comment = image.getexif().get_ifd(0x8769)[0x9286]
        assert comment == b"UNICODE\0" + record().parameters().encode("utf-16-be")


def test_the_parameters_line() -> None:
    prompt, line = record(strength=0.7, seed=5).parameters().split("\n")
    assert prompt == 'a sitting dog, "größer" Steps: 9'
    assert line == (
        "Steps: 50, Sampler: ddim, CFG scale: 7.5, Seed: 5, Size: 40x30, Model hash: 0123456789, Model: menagerie, "
        "Method: imagic, Strength: 0.7, Version: imagic 0.1.0"
    )
    rising = record(edit_options={"guidance_scale": 3.0, "guidance_at_zero": 1.0}).parameters()
    assert "CFG scale: 3.0, CFG scale at strength 0: 1.0, Seed" in rising
    assert 'Model: "a,b"' in record(model="a,b", edit_options={}).parameters()
    assert "Steps" not in record(edit_options={}, target_text="").parameters()


def test_lossless_formats_keep_every_pixel(tmp_path: Path) -> None:
    for name in ("a.png", "a.webp"):
        write_image(tmp_path / name, picture(alpha=True), record())
        assert read_image(tmp_path / name).pixels_sha256 == picture(alpha=True).pixels_sha256
    smooth = Picture(
        np.ascontiguousarray(np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None] * 6, (30, 40, 3)))
    )
    write_image(tmp_path / "a.jpg", smooth, record())
    assert np.abs(read_image(tmp_path / "a.jpg").rgb.astype(int) - smooth.rgb).max() <= 4


def test_jpeg_keeps_colour_at_full_resolution(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", picture())
    with Image.open(tmp_path / "a.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


def test_an_image_may_be_written_without_a_record(tmp_path: Path) -> None:
    for name in ("out.png", "out.jpg", "out.webp"):
        write_image(tmp_path / name, picture())
        with pytest.raises(ImageError, match="holds no imagic record"):
            read_record(tmp_path / name)


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(b"old")
    wide = Picture(np.zeros((16, 16_384, 3), np.uint8))
    for name, image, sentence in (
        ("out.gif", picture(), "must end in"),
        ("out", picture(), "must end in"),
        ("out.jpg", picture(alpha=True), "transparency"),
        ("out.webp", wide, "16383 pixels a side"),
        ("there.png", picture(), "exists already"),
    ):
        with pytest.raises(OutputError, match=sentence):
            check_output(tmp_path / name, image)
        with pytest.raises(OutputError, match=sentence):
            write_image(tmp_path / name, image)
    assert (tmp_path / "there.png").read_bytes() == b"old"
    write_image(tmp_path / "there.png", picture(), overwrite=True)
    assert read_image(tmp_path / "there.png").width == WIDTH
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]


def test_too_long_a_record_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for name, made in (
        ("out.png", record(target_text="ü" * 10_000)),
        (
            "out.jpg",
            record(
                target_text="a" * 10_000,
                source_text="b" * 10_000,
                instruction="c" * 10_000,
                edit_options={"a": "d" * 20_000},
            ),
        ),
    ):
        with pytest.raises(OutputError, match="too long"):
            write_image(tmp_path / name, picture(), made)
    assert list(tmp_path.iterdir()) == []


# Privacy


def test_options_lose_their_folders() -> None:
    kept = portable(
        {
            "clip": "/home/joe/clip-vit/",
            "lora": "~/loras/fur.safetensors",
            "drive": "C:\\Users\\joe\\fur.bin",
            "path": Path("/home/joe/mask.png"),
            "many": ["/home/joe/a", "b"],
            "text": "a and/or b",
            "rate": 1e-3,
            "on": True,
            "none": None,
        }
    )
    assert kept == {
        "clip": "clip-vit",
        "lora": "fur.safetensors",
        "drive": "fur.bin",
        "path": "mask.png",
        "many": ("a", "b"),
        "text": "a and/or b",
        "rate": 1e-3,
        "on": True,
        "none": None,
    }
    assert Record.from_json(record(fit_options=kept).to_json()).fit_options == kept
    with pytest.raises(TypeError):
        portable({"a": object()})


def test_model_names_lose_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my model").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, kept in {
        "menagerie": "menagerie",
        "some-org/model-1.5": "some-org/model-1.5",
        str(tmp_path / "my model"): "my model",
        "./my model": "my model",
        "my model": "my model",
        "~/models/sd": "sd",
        "a/b/c/sd": "sd",
        "C:\\Users\\joe\\sd": "sd",
        "/": "local",
        "..": tmp_path.parent.name,
    }.items():
        assert portable_model_name(name) == kept
        assert record(model=kept).model == kept


def test_a_cascade_is_named_by_its_stages(tmp_path: Path) -> None:
    for name, kept in (
        ("owner/base+owner/upper", "owner/base+owner/upper"),
        (f"{tmp_path}/base+{tmp_path}/upper", "base+upper"),
        (f"owner/base+{tmp_path}/upper", "owner/base+upper"),
    ):
        assert portable_model_name(name) == kept
        assert record(model=kept).model == kept
    (tmp_path / "one+two").mkdir()
    assert portable_model_name(str(tmp_path / "one+two")) == "one+two"
    assert portable_model_name(f"{tmp_path}/a+") == "a+"


def test_no_path_reaches_the_file(tmp_path: Path) -> None:
    for name in ("out.png", "out.jpg", "out.webp"):
        write_image(tmp_path / name, picture(), record(fit_options=portable({"clip": tmp_path / "clip"})))
        assert str(tmp_path).encode() not in (tmp_path / name).read_bytes()
        assert tmp_path.name.encode() not in (tmp_path / name).read_bytes()


# Distrust


@pytest.mark.parametrize(
    "changes",
    [
        {"strength": True},
        {"strength": "0.7"},
        {"strength": None},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 1.0},
        {"fit_seed": False},
        {"target_text": 7},
        {"target_text": "a" * 10_001},
        {"method": "../imagic"},
        {"method": ""},
        {"model": "/etc/passwd"},
        {"model": "../../secret"},
        {"model": "org/.."},
        {"model": "a/b/c"},
        {"model": "C:\\x"},
        {"model": "~joe"},
        {"model": "a\nb"},
        {"model": "menagerie\n"},
        {"model_fingerprint": "xyz"},
        {"input_sha256": "AB" * 32},
        {"width": 0},
        {"height": 10**9},
        {"side": -1},
        {"crop": [1, 2, 3]},
        {"crop": [1, 2, 3, "4"]},
        {"plain": 1},
        {"edit_options": {"a": {"nested": 1}}},
        {"edit_options": []},
        {"unknown": 1},
        {"schema_version": 0},
        {"schema_version": "1"},
        {"schema_version": None},
    ],
)
def test_damaged_fields_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="record is damaged"):
        Record.from_json(damaged(**changes))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"a"', "{}", "[" * 50_000, '{"a":' * 9_000, "\x00", "NaN", '{"schema_version": NaN}'],
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="record is damaged"):
        Record.from_json(text)


def test_numbers_that_are_not_finite_are_refused() -> None:
    for bad in ("NaN", "Infinity", "-Infinity", "1e999"):
        for field in ('"strength":0.30000000000000004', '"guidance_scale":7.5'):
            text = record().to_json()
            assert field in text
            with pytest.raises(ImageError, match="record is damaged"):
                Record.from_json(text.replace(field, field.split(":")[0] + ":" + bad))


def test_a_missing_field_is_named() -> None:
    fields = json.loads(record().to_json())
    del fields["method"]
    with pytest.raises(ImageError, match="damaged at 'method'"):
        Record.from_json(json.dumps(fields))
    with pytest.raises(ImageError) as caught:
        Record.from_json(damaged(**{"\x1b[31mred\n": 1}))
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_newer_and_oversized_records_say_so() -> None:
    with pytest.raises(ImageError, match="newer imagic"):
        Record.from_json(damaged(schema_version=2, something_new=[1]))
    with pytest.raises(ImageError, match="too long"):
        Record.from_json(record().to_json() + " " * MAX_RECORD)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_flipped_characters_stay_in_the_error_family(data: st.DataObject) -> None:
    raw = bytearray(record().to_json().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = Record.from_json(bytes(raw))
    except ImageError:
        return
    assert isinstance(read, Record)


def test_files_with_lying_metadata(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("imagic", "{broken")
    Image.new("RGB", (20, 20)).save(tmp_path / "bad.png", pnginfo=texts)
    with pytest.raises(ImageError, match="record is damaged"):
        read_record(tmp_path / "bad.png")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"Camera maker's own notes"
    Image.new("RGB", (20, 20)).save(tmp_path / "camera.jpg", exif=exif)
    with pytest.raises(ImageError, match="holds no imagic record"):
        read_record(tmp_path / "camera.jpg")
    Image.new("RGB", (20, 20)).save(tmp_path / "broken.webp", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    with pytest.raises(ImageError, match=r"metadata .* is damaged|holds no imagic record"):
        read_record(tmp_path / "broken.webp")
    with pytest.raises(ImageError, match="does not exist"):
        read_record(tmp_path / "missing.png")


# Doing it again


def test_the_input_is_known_by_file_or_by_pixels(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", picture())
    original = read_image(tmp_path / "in.png")
    made = record(input_sha256=original.sha256, input_pixels_sha256=original.pixels_sha256)
    made.check_input(original)
    write_image(tmp_path / "in.webp", original)  # another file, the same pixels
    made.check_input(read_image(tmp_path / "in.webp"))
    made.check_input(picture())
    record(input_sha256="", input_pixels_sha256=original.pixels_sha256).check_input(picture())
    record(input_sha256=original.sha256, input_pixels_sha256="00" * 32).check_input(original)  # another decoder
    for other in (picture(seed=1), picture(alpha=True)):
        with pytest.raises(ImageError, match="not the image that the record was made from"):
            made.check_input(other)
    # An image without a file must not match a record without a file hash.
    with pytest.raises(ImageError, match="not the image"):
        record(input_sha256="", input_pixels_sha256="").check_input(picture())


def test_a_record_that_lies_about_the_size_is_refused() -> None:
    with pytest.raises(ImageError, match="another size"):
        record(width=41).check_input(picture())


def test_the_frame_comes_back() -> None:
    assert record().frame() == Frame(WIDTH, HEIGHT, 128, Box(1, 2, 20, 20))
    assert record(crop=None).frame() == Frame.fit(picture(), 128)
    for crop in ((0, 0, 41, 20), (-1, 0, 20, 20), (0, 0, 0, 0), (2**60, 0, 20, 20)):
        with pytest.raises(ImageError, match="damaged at 'crop'"):
            record(crop=crop).frame()
