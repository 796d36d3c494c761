"""Signing a picture: the manifest says that the input was opened and edited by AI, and is bound to the whole file.

Of the C2PA specification 2: the assertion c2pa.actions.v2 with c2pa.opened and c2pa.edited, the ingredient "parentOf".
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagic.core.declaration import EDITED_BY_AI
from imagic.core.errors import OptionError
from imagic.core.images import Picture, decode_image, read_bytes
from imagic.core.provenance import Record
from imagic.signing.keys import Credentials, need_packages, open_credentials

# Formats in which the C2PA library looks for a manifest that the input has already.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF")
# No thumbnails, which would show more of the input than the result does; no requests to anywhere.
SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


@dataclass(frozen=True)
class Signer:
    """Signs what imagic writes: give it to `Edited.save`.

    input_file: the input as it came, so that Content Credentials in it are kept; else its pixels stand for it.
    """

    credentials: Credentials
    input_file: Path | None = None

    def sign(self, data: bytes, mime: str, record: Record, picture: Picture) -> bytes:
        """The file `data` with a signed manifest in it; nothing may be changed in it afterwards.

        picture: the input. Raises ImageError if the input file is another image by now, OptionError for a key and
        certificates with which no valid signature can be made.
        """
        import c2pa

        ingredient, format = self._ingredient(record, picture)
        what = {"title": "input", "relationship": "parentOf", "instance_id": _name_of(record)}
        try:
            context = c2pa.Context.from_dict(SETTINGS)
            info = c2pa.C2paSignerInfo(
                self.credentials.algorithm, self.credentials.chain.encode(), self.credentials.key.encode(), None
            )
            file = io.BytesIO()
            with (
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(json.dumps(_manifest(record)), context) as builder,
            ):
                builder.add_ingredient(json.dumps(what), f"image/{format.lower()}", io.BytesIO(ingredient))
                builder.sign(signer, mime, io.BytesIO(data), file)
        except c2pa.C2paError as error:
            raise OptionError(
                f"No valid signature can be made with this key and certificate ({error}); see docs/responsible-use.md."
            ) from error
        return file.getvalue()

    def _ingredient(self, record: Record, picture: Picture) -> tuple[bytes, str]:
        """The input's file and its format."""
        if self.input_file is not None:
            data = read_bytes(self.input_file)
            found = decode_image(data, self.input_file.name)
            record.check_input(found)
            if found.format in _FORMATS:
                return data, found.format
        file = io.BytesIO()
        picture.to_pil().save(file, "PNG")
        return file.getvalue(), "PNG"


def open_signer(
    key: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    input_file: str | os.PathLike[str] | None = None,
    folder: Path | None = None,
) -> Signer:
    """A signer with the key and certificates that `open_credentials` finds, which also says what is raised."""
    need_packages()
    return Signer(open_credentials(key, cert, folder), None if input_file is None else Path(input_file))


def _manifest(record: Record) -> dict[str, Any]:
    agent = {"name": "imagic", "version": record.package_version}
    actions = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": [_name_of(record)]}},
        {
            "action": "c2pa.edited",
            "softwareAgent": agent,
            "digitalSourceType": EDITED_BY_AI,
            "description": record.declaration().sentence,
        },
    ]
    return {
        "claim_generator_info": [agent],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _name_of(record: Record) -> str:
    """The input's name in the manifest: the hash by which it can be found again."""
    return f"sha256:{record.input_sha256 or record.input_pixels_sha256}"
