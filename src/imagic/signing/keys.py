"""The key that signs and its certificates, from PEM files: those given, or imagic's own."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagic.core.errors import NotAvailable, OptionError
from imagic.signing import own_key

if TYPE_CHECKING:
    from cryptography import x509

KEY_VARIABLE, CERT_VARIABLE = "IMAGIC_SIGN_KEY", "IMAGIC_SIGN_CERT"
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Credentials:
    """algorithm: C2PA's name of it, such as "es256". key: PKCS #8, PEM. chain: certificates as PEM, the signer's own
    first."""

    algorithm: str
    key: str = field(repr=False)
    chain: str


def open_credentials(
    key: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    folder: Path | None = None,
) -> Credentials:
    """The key and certificates in the PEM files given, else in those that IMAGIC_SIGN_KEY and IMAGIC_SIGN_CERT name,
    else imagic's own, which are made in `folder` (the user's configuration) where there are none yet.

    key: not encrypted. cert: the signer's, then those above it; the root may be left out.
    Raises NotAvailable without the packages, OptionError for files that cannot be used, OutputError where the own key
    cannot be written.
    """
    key, cert = key_files(key, cert, folder)
    return _parsed(_read(key), _read(cert), f"{key}" if key == cert else f"{key} and {cert}")


def key_files(
    key: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    folder: Path | None = None,
) -> tuple[Path, Path]:
    """The files that `open_credentials` reads. Raises as it does, but for what stands in them."""
    need_packages()
    if key is None and cert is None:
        key, cert = os.environ.get(KEY_VARIABLE) or None, os.environ.get(CERT_VARIABLE) or None
    if key is None and cert is None:
        key = cert = own_key.own_key_file(folder or own_key.own_folder())
    if key is None or cert is None:
        raise OptionError("A key and its certificates go together: give both files, or neither for imagic's own key.")
    return Path(key), Path(cert)


def own_root(folder: Path | None = None) -> str:
    """The root certificate of the own key as PEM; empty where none has been made or it cannot be read."""
    try:
        data = ((folder or own_key.own_folder()) / own_key.NAME).read_bytes()
        return _pem(_certificates(data)[-1])
    except (OSError, ValueError):
        return ""


def need_packages() -> None:
    """Raises NotAvailable unless the packages are there."""
    try:
        import c2pa  # noqa: F401
        import cryptography  # noqa: F401
    except ImportError as error:
        raise NotAvailable(
            "Content Credentials need two packages more: run pip install 'imagic[provenance]'."
        ) from error


def _parsed(key_data: bytes, chain_data: bytes, where: str) -> Credentials:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        key: Any = load_pem_private_key(key_data, password=None)
    except TypeError as error:
        raise OptionError(f"The key in {where} is encrypted; give one without a passphrase.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OptionError(f"There is no private key in {where}; give a PEM file of one.") from error
    try:
        chain = _certificates(chain_data)
    except ValueError as error:
        raise OptionError(f"There is no certificate in {where}; give a PEM file of one.") from error
    algorithm = _algorithm(key, where)
    if chain[0].public_key() != key.public_key():
        raise OptionError(f"The first certificate in {where} is not of this key; put the signer's own first.")
    if not chain[0].not_valid_before_utc <= datetime.datetime.now(datetime.UTC) <= chain[0].not_valid_after_utc:
        raise OptionError(f"The certificate in {where} is not valid today; renew it, or delete imagic's own.")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Credentials(algorithm, private.decode(), "".join(map(_pem, chain)))


def _algorithm(key: Any, where: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    found = None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        found = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(key.curve.name)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        found = "ed25519"
    elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        found = "ps256"
    if found is None:
        raise OptionError(
            f"C2PA does not allow the kind of key in {where}; give P-256, P-384, P-521, Ed25519 or RSA of 2048 bits."
        )
    return found


def _certificates(data: bytes) -> list[x509.Certificate]:
    from cryptography import x509

    return x509.load_pem_x509_certificates(data)


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MOST_BYTES)
    except (OSError, ValueError) as error:
        raise OptionError(f"The file {path} cannot be read ({error}); name a PEM file.") from error
