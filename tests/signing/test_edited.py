"""Metadata and signatures from Python, on what `imagic.edit` returns; the page that documents them runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import imagic
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.declaration import read_declaration
from imagic.core.errors import ImageError, OptionError
from imagic.core.images import read_image
from imagic.core.provenance import read_record
from imagic.signing import open_signer, verify
from tests.conftest import build_pipeline

PAGE = Path(__file__).resolve().parents[2] / "docs" / "responsible-use.md"
TINY = {"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 1, "network_pairs": 1, "measured_pairs": 1}


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> imagic.Edited:
    """An edit of dog.png in the present folder, at two strengths."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("dog.png")
    backbone = StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny")
    return imagic.edit("dog.png", "a sitting dog", model=backbone, eta=[0.5, 1.0], options={**TINY, "num_steps": 2})


def test_the_documented_signature_is_made_on_every_image(edited: imagic.Edited) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, PAGE.name, "exec"), {"edited": edited})
    paths = [Path(f"sitting-eta{eta}.png") for eta in ("0.5", "1")]
    for path, record in zip(paths, edited.records, strict=True):
        found = verify(path.read_bytes(), "image/png")
        assert found is not None
        assert (found.state, found.inputs) == ("own", (f"sha256:{read_image('dog.png').sha256}",))
        assert read_record(path) == record


def test_an_input_that_was_exchanged_since_the_edit_is_not_signed_for(edited: imagic.Edited) -> None:
    Image.new("RGB", (40, 30)).save("dog.png")
    with pytest.raises(ImageError, match="not the image"):
        edited.save("out.png", signer=open_signer(input_file="dog.png"))
    assert not list(Path().glob("out*"))
    edited.save("out.png", signer=open_signer())


def test_metadata_is_left_out_of_all_that_is_written(edited: imagic.Edited) -> None:
    edited.save("out.jpg", metadata=False)
    edited.sheet("sheet.png", metadata=False)
    edited.animate("sweep.webp", metadata=False)
    written = [path for path in Path().iterdir() if path.name != "dog.png"]
    assert len(written) == 4
    assert not any(b"imagic" in path.read_bytes() for path in written)
    edited.animate("sweep.webp", overwrite=True)
    with Image.open("sweep.webp") as moving:
        assert read_declaration(moving)["creator_tool"] == f"imagic {imagic.__version__}"


def test_a_signature_without_metadata_is_refused(edited: imagic.Edited) -> None:
    with pytest.raises(OptionError, match="A signature is metadata"):
        edited.save("out.png", metadata=False, signer=open_signer())
    assert not list(Path().glob("out*"))
