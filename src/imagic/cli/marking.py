"""The options that say what a picture tells of its making, for every command that writes one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagic.cli.bundles import takes

if TYPE_CHECKING:
    from imagic.signing import Signer


@dataclass(frozen=True)
class Marks:
    """metadata: whether pictures say how they were made; sign: whether they are signed, with the key and the
    certificates in these files, or, without them, as signing.open_credentials says."""

    metadata: bool
    sign: bool
    key: Path | None
    cert: Path | None

    def signer(self, image: Path) -> Signer | None:
        """What api and results take; the own key is made here where there is none yet. image: the input."""
        if not self.sign:
            return None
        from imagic.signing import open_signer

        return open_signer(self.key, self.cert, image)

    def signing(self) -> dict[str, str] | None:
        """What batch.edits takes: the files, read once to see that they can be; None where nothing is signed."""
        if not self.sign:
            return None
        from imagic.signing import key_files, open_credentials

        files = key_files(self.key, self.cert)
        open_credentials(*files)
        return {name: str(file.absolute()) for name, file in zip(("key", "cert"), files, strict=True)}


def _option(help: str, *names: str, **further: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="What the picture says", **further)


def _options(
    *,
    no_metadata: Annotated[
        bool, _option("Write the pixels alone: no record, and nothing that says AI edited them.", "--no-metadata")
    ] = False,
    sign: Annotated[
        bool, _option("Add signed Content Credentials (C2PA); needs imagic\\[provenance].", "--sign")
    ] = False,
    sign_key: Annotated[
        Path | None, _option("Of --sign: a private key; else $IMAGIC_SIGN_KEY, else imagic's own.", metavar="PEM")
    ] = None,
    sign_cert: Annotated[
        Path | None, _option("Of --sign: its certificate and those above; else $IMAGIC_SIGN_CERT.", metavar="PEM")
    ] = None,
) -> Marks:
    if sign and no_metadata:
        raise typer.BadParameter("--sign writes metadata: leave --no-metadata out.")
    if not sign and (sign_key or sign_cert):
        raise typer.BadParameter("--sign-key and --sign-cert are for --sign: give it too.")
    return Marks(not no_metadata, sign, sign_key, sign_cert)


marks_pictures = takes("marks", _options)
