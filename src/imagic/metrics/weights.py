"""Where the weights of metrics lie: one path per name, given by the user or shipped; nothing is ever downloaded.

The names are the metrics' own (`clip`, `dino`, `lpips-alex`, ...; docs/metrics.md lists them). A path is given to the
metric itself, or by the environment variable IMAGIC_METRIC_WEIGHTS as name=path, several separated as in PATH.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from imagic.core.encoder import BUNDLED_FOLDER
from imagic.core.errors import NotAvailable, OptionError

ENVIRONMENT = "IMAGIC_METRIC_WEIGHTS"
SHIPPED = {"menagerie-clip": BUNDLED_FOLDER}
T = TypeVar("T")


def parse(pairs: Iterable[str]) -> dict[str, Path]:
    """The paths by name, from "name=path" each. Raises OptionError for anything else."""
    paths = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not (name and path):
            raise OptionError(f"Weights of metrics are written name=path, such as clip=models/clip, not '{pair}'.")
        paths[name] = Path(path).expanduser()
    return paths


def locate(name: str, given: Path | None) -> Path:
    """The path of the weights `name`: `given`, or else the environment's, or those that ship. Raises NotAvailable when
    there is none."""
    path = given or parse(filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep))).get(name)
    if path is None and name in SHIPPED:
        if not SHIPPED[name].is_dir():
            raise NotAvailable(f"This installation has no weights '{name}': install imagic again, or give {name}=PATH.")
        return SHIPPED[name]
    if path is None:
        raise NotAvailable(
            f"The weights '{name}' are not given: write {name}=PATH after --metric-weights or in {ENVIRONMENT}"
            " (see docs/metrics.md)."
        )
    if not path.exists():
        raise NotAvailable(f"The weights '{name}' are not at {path}: correct the path.")
    return path


def build(kind: Callable[..., T], paths: Mapping[str, Path]) -> tuple[T, str]:
    """An instance of a metric or extractor with its weights from `paths` or the environment, and what they are.

    A class that has weights names them in `weights_name` and takes their path as `weights`. The identity is the path's
    last part and a hash, and empty where there are no weights. Raises NotAvailable when they are not there.
    """
    name = getattr(kind, "weights_name", "")
    if not name:
        return kind(), ""
    path = locate(name, paths.get(name))
    return kind(weights=path), identity(path)


def identity(path: Path) -> str:
    """The name of a file or folder of weights and 12 digits of a hash over its tensors and settings."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted([*path.glob("*.safetensors"), *path.glob("*.json")]):
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return f"{path.resolve().name} {digest.hexdigest()[:12]}"
