"""The options that say what a picture tells of its making, for every command that writes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from imagic.signing import Signer


def _option(help: str, *names: str, **further: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="What the picture says", **further)


NoMetadata: TypeAlias = Annotated[
    bool, _option("Write the pixels alone: no record, and nothing that says AI edited them.", "--no-metadata")
]
Sign: TypeAlias = Annotated[
    bool, _option("Add signed Content Credentials (C2PA); needs imagic\\[provenance].", "--sign")
]
SignKey: TypeAlias = Annotated[
    Path | None, _option("Of --sign: a private key; else $IMAGIC_SIGN_KEY, else imagic's own.", metavar="PEM")
]
SignCert: TypeAlias = Annotated[
    Path | None, _option("Of --sign: its certificate and those above; else $IMAGIC_SIGN_CERT.", metavar="PEM")
]


def signer_of(sign: bool, key: Path | None, cert: Path | None, no_metadata: bool, image: Path) -> Signer | None:
    """The options as the api takes them; the own key is made here where there is none yet. image: the input."""
    if not _signs(sign, key, cert, no_metadata):
        return None
    from imagic.signing import open_signer

    return open_signer(key, cert, image)


def signing_of(sign: bool, key: Path | None, cert: Path | None, no_metadata: bool) -> dict[str, str] | None:
    """The options as batch.edits takes them: the files of the key and its certificates, read once to see that they
    can be; None where nothing is signed."""
    if not _signs(sign, key, cert, no_metadata):
        return None
    from imagic.signing import key_files, open_credentials

    files = key_files(key, cert)
    open_credentials(*files)
    return {name: str(file.absolute()) for name, file in zip(("key", "cert"), files, strict=True)}


def _signs(sign: bool, key: Path | None, cert: Path | None, no_metadata: bool) -> bool:
    if sign and no_metadata:
        raise typer.BadParameter("--sign writes metadata: leave --no-metadata out.")
    if not sign and (key or cert):
        raise typer.BadParameter("--sign-key and --sign-cert are for --sign: give it too.")
    return sign
