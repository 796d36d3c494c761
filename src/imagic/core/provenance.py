"""What an output image says about its own making, so that the same command can be given again.

Every output carries a versioned JSON record, the one-line `parameters` text that other tools show, and the declaration
that AI edited it. The record names the input by its hash, the model by its fingerprint, and holds no folder, user or
host names. Read back, it is untrusted.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from imagic.core.declaration import PNG_KEY, Declaration
from imagic.core.errors import ImageError, OptionError, OutputError
from imagic.core.files import check_writable, write_bytes
from imagic.core.frame import Box, Frame
from imagic.core.images import MAX_PIXELS, MIN_SIDE, Picture, open_image, quietly, read_bytes
from imagic.core.masks import Mask

MAX_RECORD = 60_000  # bytes; an EXIF block holds 64 KiB

Scalar: TypeAlias = bool | int | float | str | None
OptionValue: TypeAlias = Scalar | tuple[Scalar, ...]
Seal: TypeAlias = Callable[[bytes, str], bytes]  # a whole file and its MIME type -> the file with a signature in it
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
# An alias, or a hub id, owner/name; or several of them, joined by plus signs, for the stages of a cascade.
_PART = r"[^/\\:~.\x00-\x1f\s][^/\\:\x00-\x1f]{0,99}"
ModelName = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})?(\+{_PART}(/{_PART})?){{0,3}}$")]
Hash = Annotated[str, Field(pattern=r"^([0-9a-f]{16,128})?$")]
Version = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=10_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_PIXELS)]

_UNICODE = b"UNICODE\0"
_MAKER = b"imagic\0"
_EXIF_IFD, _USER_COMMENT, _MAKER_NOTE = 0x8769, 0x9286, 0x927C
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SAVING: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}
_LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}


class Record(BaseModel):
    """How one output image was made.

    strength: what the method calls its strength (Imagic's eta). fit_seed: of the fit; seed: of this image.
    width, height: of input and output alike; side: of the model's square; crop: left, top, width, height, or None for
    the whole picture. input_sha256: of the input file's bytes, empty if it was no file; input_pixels_sha256: of its
    pixels. mask: none, found by the texts ("auto") or given; mask_sha256, mask_pixels_sha256: of the given one, as for
    the input; mask_options: how it was found and used. versions: of the libraries that decide the pixels. Unknown
    fields, loose types and infinities are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    schema_version: Literal[1] = 1
    package_version: Version
    method: Name
    model: ModelName
    model_fingerprint: Hash
    target_text: Text
    source_text: Text = ""
    instruction: Text = ""
    preset: Annotated[str, Field(max_length=64)] = ""
    fit_options: dict[str, OptionValue] = {}
    edit_options: dict[str, OptionValue] = {}
    fit_seed: Seed
    seed: Seed
    strength: float
    dtype: Annotated[str, Field(max_length=32)] = ""
    device: Annotated[str, Field(max_length=32)] = ""
    versions: dict[str, Version] = {}
    input_sha256: Hash = ""
    input_pixels_sha256: Hash
    width: Side
    height: Side
    side: Side
    crop: tuple[int, int, int, int] | None = None
    plain: bool = False
    mask: Literal["", "auto", "given"] = ""
    mask_sha256: Hash = ""
    mask_pixels_sha256: Hash = ""
    mask_options: dict[str, OptionValue] = {}

    def to_json(self) -> str:
        """ASCII JSON of at most 60,000 bytes. Raises OutputError if it would be longer."""
        text = json.dumps(self.model_dump(mode="json"), separators=(",", ":"), allow_nan=False)
        if len(text) > MAX_RECORD:
            raise OutputError("The texts and options are too long to be written into an image; shorten the texts.")
        return text

    @staticmethod
    def from_json(text: str | bytes) -> Record:
        """A record from untrusted JSON. Raises ImageError if it is too long, damaged, or of another schema version."""
        if len(text) > MAX_RECORD:
            raise ImageError("The image's imagic record is too long to be genuine; use the image that imagic wrote.")
        try:
            version = from_json(text, allow_inf_nan=False).get("schema_version")
        except (ValueError, AttributeError) as error:
            raise ImageError("The image's imagic record is damaged; use the image that imagic wrote.") from error
        if type(version) is int and version > 1:
            raise ImageError(f"The image was made by a newer imagic (record version {version}); update imagic.")
        try:
            return Record.model_validate_json(text)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]).encode("ascii", "replace").decode()[:80]
            problem = f"The image's imagic record is damaged at {where!r}; use the image that imagic wrote."
            raise ImageError(problem) from error

    def parameters(self) -> str:
        """The text that image browsers show: the prompt, then one line of settings in the form they parse."""
        prompt = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", self.target_text).split())
        shown = {
            "Steps": self.edit_options.get("num_steps"),
            "Sampler": self.edit_options.get("sampler"),
            "CFG scale": self.edit_options.get("guidance_scale"),
            "CFG scale at strength 0": self.edit_options.get("guidance_at_zero"),
            "Seed": self.seed,
            "Size": f"{self.width}x{self.height}",
            "Model hash": self.model_fingerprint[:10] or None,
            "Model": self.model,
            "Method": self.method,
            "Strength": round(self.strength, 6),
            "Version": f"imagic {self.package_version}",
        }
        return f"{prompt}\n" + ", ".join(
            f"{key}: {_quoted(value)}" for key, value in shown.items() if value is not None
        )

    def declaration(self) -> Declaration:
        """What the picture tells other programs."""
        return Declaration(self.package_version, self.method, self.model)

    def frame(self) -> Frame:
        """The frame of the edit. Raises ImageError if the crop does not lie within the picture."""
        try:
            return Frame(self.width, self.height, self.side, Box(*(self.crop or (0, 0, self.width, self.height))))
        except OptionError as error:
            raise ImageError(
                "The image's imagic record is damaged at 'crop'; use the image that imagic wrote."
            ) from error

    def check_input(self, picture: Picture) -> None:
        """Raises ImageError unless the picture is the record's input: the same file, or the same pixels."""
        same_file = bool(self.input_sha256) and self.input_sha256 == picture.sha256
        if not same_file and self.input_pixels_sha256 != picture.pixels_sha256:
            raise ImageError("This is not the image that the record was made from; give the original input.")
        if (self.width, self.height) != (picture.width, picture.height):
            raise ImageError("The record names another size than its input has; use the image that imagic wrote.")

    def check_mask(self, mask: Mask | None) -> None:
        """Raises ImageError unless the mask is the one that was given, the same file or the same pixels, or None where
        none was."""
        if mask is None:
            if self.mask == "given":
                raise ImageError("This edit had a given mask; give the same one again.")
            return
        if self.mask != "given":
            raise ImageError("This edit had no given mask; leave the mask out.")
        same_file = bool(self.mask_sha256) and self.mask_sha256 == mask.sha256
        if not same_file and self.mask_pixels_sha256 != mask.pixels_sha256:
            raise ImageError("This is not the mask that the record was made with; give the original mask.")


def portable(options: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Options as a record holds them; of an absolute path only the last part stays."""
    return {name: _portable_value(value) for name, value in options.items()}


def portable_model_name(name: str) -> str:
    """A model's name as a record holds it: aliases and hub ids as they are, of a path only the last part. Of a cascade
    that holds for each stage."""
    stages = name.split("+")
    if len(stages) > 1 and all(stages) and not os.path.exists(name):
        return "+".join(portable_model_name(stage) for stage in stages)
    is_path = os.path.isabs(name) or "\\" in name or name.startswith((".", "~")) or name.count("/") > 1
    if not is_path and not os.path.exists(name):
        return name
    last = re.split(r"[/\\]", os.path.abspath(os.path.expanduser(name)).rstrip("/\\"))[-1]
    return re.sub(r"[:\x00-\x1f]", "_", last).lstrip(".~ \t")[:100] or "local"


def check_output(path: str | os.PathLike[str], picture: Picture, overwrite: bool = False) -> str:
    """Pillow's format name for an output path; call it before expensive work.

    Raises OutputError if the ending is none of .png, .jpg, .jpeg, .webp, if that format cannot hold the picture's size
    or its transparency, or if the file may not be written (see core.files).
    """
    target = check_writable(path, overwrite)
    format = _FORMATS.get(target.suffix.lower())
    if format is None:
        raise OutputError(f"{target.name} must end in .png, .jpg or .webp.")
    if max(picture.width, picture.height) > _LONGEST_SIDE[format]:
        raise OutputError(
            f"A {target.suffix} file holds at most {_LONGEST_SIDE[format]} pixels a side; write a .png file."
        )
    if format == "JPEG" and picture.alpha is not None:
        raise OutputError("JPEG cannot hold the picture's transparency; write a .png or .webp file.")
    return format


def write_image(
    path: str | os.PathLike[str],
    picture: Picture,
    record: Record | None = None,
    overwrite: bool = False,
    seal: Seal | None = None,
) -> None:
    """The picture as PNG, JPEG (quality 95, 4:4:4) or lossless WebP, by the path's ending, with its record; atomically.

    PNG holds the record in the text chunks `parameters` and `imagic`, the others in EXIF's UserComment and MakerNote;
    all hold its declaration as XMP. Without a record the file says nothing. seal: signs the finished file.
    Raises OutputError as `check_output`.
    """
    format = check_output(path, picture, overwrite)
    data = _encoded(picture, format, record)
    write_bytes(path, data if seal is None else seal(data, Image.MIME[format]), overwrite)


def _encoded(picture: Picture, format: str, record: Record | None) -> bytes:
    """The bytes of the whole file."""
    how = dict(_SAVING[format])
    if record is not None and format == "PNG":
        how["pnginfo"] = _png_texts(record)
    elif record is not None:
        how |= {"exif": _exif(record), "xmp": record.declaration().packet()}
    file = io.BytesIO()
    picture.to_pil().save(file, format, **how)
    return file.getvalue()


def read_record(path: str | os.PathLike[str]) -> Record:
    """The record in an image that imagic wrote. Raises ImageError if it has none or it cannot be trusted."""
    image = open_image(read_bytes(path), os.path.basename(path))
    found: str | bytes | None = None
    try:
        if image.format == "PNG":
            found = image.info.get("imagic")
        else:
            with quietly():
                note = image.getexif().get_ifd(_EXIF_IFD).get(_MAKER_NOTE, b"")
            if isinstance(note, bytes) and note.startswith(_MAKER):
                found = note.removeprefix(_MAKER)
    except Exception as error:  # Pillow's EXIF reader raises almost anything on damaged blocks
        raise ImageError(f"The metadata of {path} is damaged; use the image that imagic wrote.") from error
    if not isinstance(found, (str, bytes)):
        raise ImageError(f"{path} holds no imagic record; use an image that imagic wrote.")
    return Record.from_json(found)


def _portable_value(value: Any) -> OptionValue:
    if isinstance(value, (list, tuple)):
        return tuple(_portable_scalar(part) for part in value)
    return _portable_scalar(value)


def _portable_scalar(value: Any) -> Scalar:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and re.match(r"[/~\\]|[A-Za-z]:[/\\]", value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"an option of a record must be a plain value, not {type(value).__name__}")


def _quoted(value: object) -> str:
    text = str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if re.search(r'[,:"\n]', text) else text


def _png_texts(record: Record) -> PngImagePlugin.PngInfo:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", record.parameters())
    texts.add_text("imagic", record.to_json())
    texts.add_itxt(PNG_KEY, record.declaration().packet().decode())
    return texts


def _exif(record: Record) -> Image.Exif:
    exif = Image.Exif()
    block = exif.get_ifd(_EXIF_IFD)
    block[_USER_COMMENT] = _UNICODE + record.parameters().encode("utf-16-be")
    block[_MAKER_NOTE] = _MAKER + record.to_json().encode("ascii")
    if len(exif.tobytes()) > 65_000:
        raise OutputError("The texts are too long for this file format; write a .png file.")
    return exif
