"""imagic's own key: made on first use, with a certificate under a root of its own, since C2PA wants an issuer.

The root signs this one certificate and its key is thrown away: nothing else can ever be signed in its name. Key and
certificates are one file, so that they always belong together.
"""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagic.core.errors import OutputError
from imagic.core.files import replacing

if TYPE_CHECKING:
    from cryptography import x509

NAME = "signing.pem"
YEARS = 10  # signatures hold no time stamp of an authority, so that none is valid for longer


def own_folder() -> Path:
    """Where the own key is kept: the user's configuration folder."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("imagic"))


def own_key_file(folder: Path) -> Path:
    """The file of the key, made where there is none yet; only its owner may read it. Raises OutputError."""
    path = folder / NAME
    if not path.exists():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The signing key needs the folder {folder}, which cannot be made ({error}).") from error
        made = _made()
        try:
            with replacing(path) as part:
                part.chmod(0o600)  # while it is still empty
                part.write_bytes(made)
        except OutputError:
            if not path.exists():  # else another process was faster, and its key is as good
                raise
    with contextlib.suppress(OSError):  # some file systems have no permissions
        path.chmod(0o600)
    return path


def _made() -> bytes:
    """A new key, its certificate and the root, PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("imagic own root", root_key.public_key(), None, root_key)
    leaf = _certificate("imagic own key", key.public_key(), root, root_key)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)


def _certificate(name: str, key: Any, issuer: x509.Certificate | None, issuer_key: Any) -> x509.Certificate:
    """By the profile of the C2PA specification; of a root where there is no issuer. The names name no person."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    is_root, now = issuer is None, datetime.datetime.now(datetime.UTC)
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "imagic, self-made"),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=round(365.25 * YEARS)))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        # Of the purposes that C2PA allows, the one that every validator knows.
        purposes = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purposes, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
