"""`imagic doctor`: what is installed, what works, and what to do about what does not."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from imagic import __version__
from imagic.cli.show import emit_json

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "huggingface_hub",
    "numpy",
    "pillow",
    "pydantic",
    "typer",
    "rich",
)


@dataclass(frozen=True)
class Check:
    """One line of the report. ok False is a problem, and `found` then says what to do."""

    name: str
    ok: bool
    found: str


def doctor(as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False) -> None:
    """Check the installation; exit code 1 where something is wrong."""
    checks = [
        Check("imagic", True, __version__),
        Check("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(check_package(name) for name in PACKAGES),
        check_torchvision(),
        *check_devices(),
        check_bundled_model(),
        check_cache(),
    ]
    healthy = all(check.ok for check in checks)
    if as_json:
        emit_json({"version": 1, "ok": healthy, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            typer.echo(f"{'ok     ' if check.ok else 'PROBLEM'}  {check.name:<16} {check.found}")
    if not healthy:
        raise typer.Exit(1)


def check_package(name: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, f"not installed; run: pip install {name}")


def check_torchvision() -> Check:
    """A torchvision built for another torch breaks transformers' CLIP classes and with them every pipeline."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", True, "not installed (not needed)")
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # whatever a broken build raises: RuntimeError, ImportError, OSError
        return Check(
            "torchvision",
            False,
            f"does not fit the installed torch ({error}) and stops diffusers from loading; "
            "run: pip uninstall torchvision",
        )
    return Check("torchvision", True, importlib.metadata.version("torchvision"))


def check_devices() -> list[Check]:
    try:
        import torch
    except Exception as error:  # a damaged installation may raise anything
        return [Check("devices", False, f"torch cannot be imported ({error}); install it again")]
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [
        Check("devices", True, ", ".join([*names, "cpu"])),
        Check("threads", True, f"{torch.get_num_threads()} of {os.cpu_count()} logical processors"),
    ]


def check_cache() -> Check:
    """Where models from the hub are kept: the folder, or the nearest one above it that exists, must be writable."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError as error:
        return Check("cache", False, f"huggingface_hub cannot be imported ({error}); install it again")
    folder = Path(HF_HUB_CACHE)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check("cache", False, f"{folder} cannot be written; set HF_HOME to a folder that can")
    return Check("cache", True, str(folder))


def check_bundled_model() -> Check:
    """The weights that travel in the package: there, readable, and their fingerprint."""
    try:
        from imagic.backbones.loading import load

        backbone = load("menagerie", device="cpu")
    except Exception as error:  # a broken torchvision or transformers stops the import itself, in its own way
        return Check("menagerie", False, f"cannot be loaded: {error}")
    return Check("menagerie", True, f"bundled model, fingerprint {backbone.fingerprint}")
