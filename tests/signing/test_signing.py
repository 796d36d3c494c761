"""What is signed can be verified, every change shows, and the manifest says what was done to which input."""

from __future__ import annotations

import functools
import getpass
import io
import json
import socket
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from PIL import Image

from imagic.core.declaration import EDITED_BY_AI, read_declaration
from imagic.core.errors import ImageError, OptionError
from imagic.core.images import Picture, read_image
from imagic.core.provenance import Record, read_record, write_image
from imagic.signing import Signer, open_signer, verify
from tests.core.test_provenance import picture, record
from tests.signing.conftest import MakeFiles

FORMATS = {"out.png": "image/png", "out.jpg": "image/jpeg", "out.webp": "image/webp"}


def of(source: Picture) -> Record:
    return record(input_sha256=source.sha256, input_pixels_sha256=source.pixels_sha256)


def written(path: Path, signer: Signer, source: Picture | None = None, **options: Any) -> bytes:
    """A signed picture (that of seed 1), made from `source`."""
    source = source or picture()
    seal = functools.partial(signer.sign, record=of(source), picture=source)
    write_image(path, picture(seed=1), of(source), seal=seal, **options)
    return path.read_bytes()


def manifest(data: bytes, mime: str) -> dict[str, Any]:
    """As the C2PA library itself reads it."""
    store = json.loads(c2pa.Reader(mime, io.BytesIO(data)).json())
    found: dict[str, Any] = store["manifests"][store["active_manifest"]]
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_signed_is_intact_and_keeps_its_metadata_and_pixels(tmp_path: Path, name: str) -> None:
    data = written(tmp_path / name, open_signer())
    found = verify(data, FORMATS[name])
    assert found is not None
    assert (found.state, found.intact, found.problems) == ("own", True, ())
    assert (found.signed_by, found.organisation) == ("imagic own key", "imagic, self-made")
    assert "not trusted by others" in found.sentence
    assert found.actions == ("c2pa.opened", "c2pa.edited by imagic 0.1.0")
    assert found.inputs == (f"sha256:{picture().pixels_sha256}",)
    assert read_record(tmp_path / name) == of(picture())
    with Image.open(tmp_path / name) as image:
        assert read_declaration(image)["digital_source_type"] == EDITED_BY_AI
    write_image(tmp_path / f"plain-{name}", picture(seed=1))
    assert np.array_equal(read_image(tmp_path / name).rgb, read_image(tmp_path / f"plain-{name}").rgb)


@pytest.mark.parametrize("name", FORMATS)
def test_the_manifest_is_what_the_specification_asks_for(tmp_path: Path, name: str) -> None:
    found = manifest(written(tmp_path / name, open_signer()), FORMATS[name])
    (ingredient,) = found["ingredients"]
    assert (ingredient["relationship"], ingredient["title"]) == ("parentOf", "input")
    assert "thumbnail" not in found
    assert "thumbnail" not in ingredient
    (actions,) = [each for each in found["assertions"] if each["label"] == "c2pa.actions.v2"]
    opened, edited = actions["data"]["actions"]
    assert opened["action"] == "c2pa.opened"
    assert opened["parameters"]["ingredients"][0]["url"].endswith(ingredient["label"])
    assert edited["action"] == "c2pa.edited"
    assert edited["softwareAgent"] == {"name": "imagic", "version": "0.1.0"}
    assert edited["digitalSourceType"] == EDITED_BY_AI
    assert edited["description"] == "Edited by AI (imagic, method imagic, model menagerie, version 0.1.0)"


@pytest.mark.parametrize("name", FORMATS)
def test_every_flipped_bit_of_the_picture_and_its_metadata_is_found(tmp_path: Path, name: str) -> None:
    data = written(tmp_path / name, open_signer())
    # The manifest itself has unsigned padding in it; all that is around it is signed.
    box = data.index(b"jumb") - 4
    end = box + int.from_bytes(data[box : box + 4], "big")
    outside = [*range(16, box - 20), *range(end + 4, len(data))]
    assert len(outside) > 2000
    for place in np.random.default_rng(0).choice(outside, 24):
        changed = bytearray(data)
        changed[place] ^= 1
        found = verify(bytes(changed), FORMATS[name])
        # Where the flip breaks the file apart, no manifest is found in it any more.
        assert found is None or not found.intact, place


def test_a_changed_pixel_is_a_change_after_signing(tmp_path: Path) -> None:
    data = written(tmp_path / "out.png", open_signer())
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    raw = bytearray(zlib.decompress(data[start + 4 : start + 4 + length]))
    raw[-1] ^= 1
    packed = b"IDAT" + zlib.compress(bytes(raw))
    chunk = (len(packed) - 4).to_bytes(4, "big") + packed + zlib.crc32(packed).to_bytes(4, "big")
    changed = data[: start - 4] + chunk + data[start + 8 + length :]
    (tmp_path / "changed.png").write_bytes(changed)
    assert np.abs(read_image(tmp_path / "changed.png").rgb.astype(int) - picture(seed=1).rgb).sum() == 1
    found = verify(changed, "image/png")
    assert found is not None
    assert (found.state, found.intact) == ("changed", False)
    assert found.sentence.startswith("Changed after signing")
    assert "assertion.dataHash.mismatch" in found.problems


def test_a_changed_record_is_a_change_after_signing(tmp_path: Path) -> None:
    data = written(tmp_path / "out.webp", open_signer())
    assert data.count(b"compositeWithTrained") >= 2  # the XMP's and the manifest's
    changed = data.replace(b"compositeWithTrainedAlgorithmicMedia", b"digitalCaptureAAAAAAAAAAAAAAAAAAAAAA")
    found = verify(changed, "image/webp")
    assert found is not None
    assert found.state == "changed"


def test_somebody_elses_signature_is_intact_but_proves_no_name(tmp_path: Path, key_files: MakeFiles) -> None:
    data = written(tmp_path / "out.png", open_signer(*key_files(name="Leica\x1b[31m")))
    found = verify(data, "image/png")
    assert found is not None
    assert (found.state, found.intact) == ("unknown", True)
    assert "Leica" in found.signed_by
    assert "not proved" in found.sentence
    # A key that calls itself imagic's is none.
    data = written(tmp_path / "b.png", open_signer(*key_files(name="imagic own key")))
    open_signer()
    found = verify(data, "image/png")
    assert found is not None
    assert (found.signed_by, found.state) == ("imagic own key", "unknown")


def test_the_inputs_own_credentials_are_kept(tmp_path: Path) -> None:
    first = written(tmp_path / "first.png", open_signer())
    source = read_image(tmp_path / "first.png")
    data = written(tmp_path / "second.jpg", open_signer(input_file=tmp_path / "first.png"), source)
    store = json.loads(c2pa.Reader("image/jpeg", io.BytesIO(data)).json())
    assert len(store["manifests"]) == 2
    (ingredient,) = store["manifests"][store["active_manifest"]]["ingredients"]
    assert ingredient["instance_id"] == f"sha256:{source.sha256}"
    earlier = store["manifests"][ingredient["active_manifest"]]
    assert earlier["label"] == manifest(first, "image/png")["label"]


def test_an_input_of_another_format_or_without_a_file_is_named_by_its_pixels(tmp_path: Path) -> None:
    picture().to_pil().save(tmp_path / "in.bmp")
    data = written(tmp_path / "out.png", open_signer(input_file=tmp_path / "in.bmp"), read_image(tmp_path / "in.bmp"))
    (ingredient,) = manifest(data, "image/png")["ingredients"]
    assert ingredient["format"] == "image/png"
    assert ingredient["instance_id"].startswith("sha256:")


def test_an_input_that_was_exchanged_is_refused_and_nothing_written(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", picture())
    source = read_image(tmp_path / "in.png")
    write_image(tmp_path / "in.png", picture(seed=7), overwrite=True)
    with pytest.raises(ImageError, match="not the image"):
        written(tmp_path / "out.png", open_signer(input_file=tmp_path / "in.png"), source)
    assert not (tmp_path / "out.png").exists()


def test_a_certificate_that_c2pa_refuses_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, key_files: MakeFiles
) -> None:
    signer = open_signer(*key_files(ca=True))  # an authority's own certificate may not sign pictures
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OptionError, match="No valid signature"):
        written(tmp_path / "out.png", signer)
    assert sorted(tmp_path.iterdir()) == before


def test_pictures_without_credentials_have_none(tmp_path: Path) -> None:
    for name, mime in FORMATS.items():
        write_image(tmp_path / name, picture(), record())
        assert verify((tmp_path / name).read_bytes(), mime) is None
    picture().to_pil().save(tmp_path / "in.bmp")
    assert verify((tmp_path / "in.bmp").read_bytes(), "image/bmp") is None


def test_nothing_of_this_computer_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "whoever-signs-this")
    data = written(tmp_path / "out.png", open_signer())
    names = [tmp_path.name, "whoever-signs-this", getpass.getuser(), socket.gethostname()]
    # Two or three letters ("vm") stand by chance among the thousands of random bytes of a signature.
    for private in (name for name in names if len(name) >= 4):
        assert private.encode() not in data


def test_a_manifest_that_lies_elsewhere_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture may name an address instead of holding its manifest: whoever looks at it would be seen there."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        credentials, file, data = open_signer().credentials, io.BytesIO(), io.BytesIO()
        picture().to_pil().save(file, "JPEG")
        info = c2pa.C2paSignerInfo(credentials.algorithm, credentials.chain.encode(), credentials.key.encode(), None)
        builder = c2pa.Builder(json.dumps({"claim_generator_info": [{"name": "x", "version": "1"}]}))
        builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
        builder.set_no_embed()
        builder.set_remote_url(f"http://127.0.0.1:{server.server_port}/manifest")
        builder.sign(c2pa.Signer.from_info(info), "image/jpeg", file, data)
        found = verify(data.getvalue(), "image/jpeg")
        assert found is None or not found.intact
        assert asked == []
        # The library would have gone there by itself.
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(data.getvalue()))
        assert asked == ["/manifest"]
        server.shutdown()
