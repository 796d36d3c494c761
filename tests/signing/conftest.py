"""Keys that are made once, and a way to make further ones."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagic.signing.keys import CERT_VARIABLE, KEY_VARIABLE

MakeFiles = Callable[..., tuple[Path, Path]]


@pytest.fixture(autouse=True)
def no_keys_of_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's configuration is an empty folder, and no variable names a key."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(CERT_VARIABLE, raising=False)
    monkeypatch.setattr("imagic.signing.own_key.own_folder", lambda: folder)
    return folder


def certificate(name: str, key: Any, issuer: str, issuer_key: Any, days: int = 30, ca: bool = False) -> Any:
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    named = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(named[0])
        .issuer_name(named[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.KeyUsage(**{**usage, "key_cert_sign" if ca else "digital_signature": True}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    )
    return made.sign(issuer_key, None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem(key: Any, encryption: Any = None) -> bytes:
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return made


@pytest.fixture
def key_files(tmp_path: Path) -> MakeFiles:
    """PEM files of a key and of its certificate under a root that stands nowhere, as somebody else would give them."""

    def make(key: Any = None, name: str = "somebody else", **certified: Any) -> tuple[Path, Path]:
        key = key or ec.generate_private_key(ec.SECP256R1())
        root_key = ec.generate_private_key(ec.SECP256R1())
        chain = [
            certificate(name, key, "some root", root_key, **certified),
            certificate("some root", root_key, "some root", root_key, ca=True),
        ]
        paths = tmp_path / "given-key.pem", tmp_path / "given-cert.pem"
        paths[0].write_bytes(pem(key))
        paths[1].write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        return paths

    return make
