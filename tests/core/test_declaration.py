"""Other programs learn from a picture that AI edited it: read back by Pillow's own XMP reader, in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagic.core.declaration import EDITED_BY_AI, PNG_KEY, Declaration, read_declaration
from imagic.core.provenance import write_image
from imagic.core.sheet import write_sheet, write_sweep
from tests.core.test_provenance import picture, record

MADE = Declaration("0.1.0", "imagic", "menagerie")
SAID = {
    "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "creator_tool": "imagic 0.1.0",
    "ai_system": "imagic, method imagic, model menagerie",
    "ai_system_version": "0.1.0",
}
PACKET = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType> {} </Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>"""


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp"])
def test_every_format_says_that_ai_edited_it_and_with_what(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, picture(), record())
    image = opened(tmp_path / name)
    assert read_declaration(image) == SAID
    description = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert description["DigitalSourceType"] == SAID["digital_source_type"]
    assert description["CreatorTool"] == SAID["creator_tool"]


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp"])
def test_without_a_record_nothing_is_said(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, picture())
    image = opened(tmp_path / name)
    assert read_declaration(image) == {}
    assert image.getexif() == {}
    data = (tmp_path / name).read_bytes()
    assert not any(word in data for word in (b"imagic", b"xmp", b"Exif", b"parameters"))


def test_sheets_and_animations_say_it_too_unless_told_not_to(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green")]
    for says, found in ((MADE, SAID), (None, {})):
        write_sheet(tmp_path / "sheet.png", frames[0], overwrite=True, declaration=says)
        write_sweep(tmp_path / "sweep.webp", frames, overwrite=True, declaration=says)
        write_sweep(tmp_path / "sweep.gif", frames, overwrite=True, declaration=says)
        assert read_declaration(opened(tmp_path / "sheet.png")) == found
        assert read_declaration(opened(tmp_path / "sweep.webp")) == found
        comment = opened(tmp_path / "sweep.gif").info.get("comment", b"")
        assert comment == (says.sentence.encode() if says else b"")
    assert MADE.sentence == "Edited by AI (imagic, method imagic, model menagerie, version 0.1.0)"


def test_odd_names_neither_break_nor_escape_the_packet(tmp_path: Path) -> None:
    model = "\"'<&>\ufffe\ud7ff größer"
    write_image(tmp_path / "out.png", picture(), record(model=model))
    assert read_declaration(opened(tmp_path / "out.png"))["ai_system"] == (
        "imagic, method imagic, model \"'<&>\ud7ff größer"
    )


def test_other_programs_declarations_are_read_and_damaged_ones_are_not() -> None:
    image = Image.new("RGB", (16, 16))
    for packet, found in (
        (PACKET.format(EDITED_BY_AI).encode(), {"digital_source_type": EDITED_BY_AI}),
        (PACKET.format("x").encode() + b"\0\0", {"digital_source_type": "x"}),
        (PACKET.format("x"), {"digital_source_type": "x"}),
        (PACKET.format("").encode(), {}),
        (PACKET.format("&a;").encode(), {}),
        (b'<!DOCTYPE x [<!ENTITY a "b">]>' + PACKET.format("&a;").encode(), {}),
        (b"\xff\xfe", {}),
        (b"<x", {}),
        (PACKET.format("x" * (1 << 20)).encode(), {}),
        (b"", {}),
    ):
        image.info["xmp"] = packet
        assert read_declaration(image) == found


def test_the_picture_is_the_same_with_and_without(tmp_path: Path) -> None:
    for name, made in (("with.png", record()), ("without.png", None)):
        write_image(tmp_path / name, picture(), made)
    first, second = (np.asarray(opened(tmp_path / name)) for name in ("with.png", "without.png"))
    assert np.array_equal(first, second)
    assert PNG_KEY.encode() in (tmp_path / "with.png").read_bytes()
