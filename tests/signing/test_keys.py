"""The own key is made once and for its owner alone; given keys are taken as they are, or refused with the reason."""

from __future__ import annotations

import builtins
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key

from imagic.core.errors import NotAvailable, OptionError, OutputError
from imagic.signing import open_credentials
from imagic.signing.keys import own_root
from tests.signing.conftest import MakeFiles, pem


def test_the_own_key_is_made_on_first_use_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "imagic"
    assert own_root(folder) == ""
    first = open_credentials(folder=folder)
    assert open_credentials(folder=folder) == first
    assert [path.name for path in folder.iterdir()] == ["signing.pem"]
    assert stat.S_IMODE((folder / "signing.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert first.key not in repr(first)


def test_the_own_key_stands_under_a_root_of_its_own(tmp_path: Path) -> None:
    made = open_credentials(folder=tmp_path)
    leaf, root = x509.load_pem_x509_certificates(made.chain.encode())
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert made.algorithm == "es256"
    assert leaf.public_key() == load_pem_private_key(made.key.encode(), None).public_key()
    assert leaf.public_key() != root.public_key()
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert x509.load_pem_x509_certificate(own_root(tmp_path).encode()) == root
    # Of the root only the certificate is left.
    assert (tmp_path / "signing.pem").read_text().count("PRIVATE KEY") == 2


def test_two_users_have_two_keys(tmp_path: Path) -> None:
    assert open_credentials(folder=tmp_path / "a").key != open_credentials(folder=tmp_path / "b").key


def test_permissions_that_were_opened_are_closed_again(tmp_path: Path) -> None:
    open_credentials(folder=tmp_path)
    (tmp_path / "signing.pem").chmod(0o644)
    open_credentials(folder=tmp_path)
    assert stat.S_IMODE((tmp_path / "signing.pem").stat().st_mode) == 0o600


def test_of_two_processes_that_make_the_key_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagic.signing import own_key

    make = own_key._made

    def slow() -> bytes:
        monkeypatch.setattr(own_key, "_made", make)
        winner.append(open_credentials(folder=tmp_path))
        return make()

    winner: list[Any] = []
    monkeypatch.setattr(own_key, "_made", slow)
    assert open_credentials(folder=tmp_path) == winner[0]


def test_without_arguments_the_variables_decide_and_then_the_own_key(
    key_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, no_keys_of_this_user: Path
) -> None:
    key, cert = key_files()
    monkeypatch.setenv("IMAGIC_SIGN_KEY", str(key))
    with pytest.raises(OptionError, match="go together"):
        open_credentials()
    monkeypatch.setenv("IMAGIC_SIGN_CERT", str(cert))
    assert open_credentials() == open_credentials(key, cert)
    assert list(no_keys_of_this_user.iterdir()) == []
    monkeypatch.delenv("IMAGIC_SIGN_KEY")
    monkeypatch.delenv("IMAGIC_SIGN_CERT")
    assert open_credentials().chain.endswith(own_root(no_keys_of_this_user))


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "es384"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "es512"),
        (ed25519.Ed25519PrivateKey.generate, "ed25519"),
        (lambda: rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_every_kind_of_key_that_c2pa_allows_is_taken(make: Any, algorithm: str, key_files: MakeFiles) -> None:
    assert open_credentials(*key_files(make())).algorithm == algorithm


def test_files_that_cannot_be_used_are_refused_with_the_reason(key_files: MakeFiles, tmp_path: Path) -> None:
    key, cert = key_files()
    own, other = tmp_path / "own.pem", tmp_path / "other.pem"
    own.write_bytes(key.read_bytes())
    other.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    locked = tmp_path / "locked.pem"
    locked.write_bytes(pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"secret")))
    small, exchange = tmp_path / "small.pem", tmp_path / "exchange.pem"
    small.write_bytes(pem(rsa.generate_private_key(65537, 1024)))
    exchange.write_bytes(pem(x25519.X25519PrivateKey.generate()))
    for wrong, said in (
        ((key, None), "go together"),
        ((tmp_path / "missing.pem", cert), "cannot be read"),
        ((tmp_path, cert), "cannot be read"),
        ((cert, cert), "no private key"),
        ((key, key), "no certificate"),
        ((other, cert), "not of this key"),
        ((locked, cert), "encrypted"),
        ((small, cert), "kind of key"),
        ((exchange, cert), "kind of key"),
    ):
        with pytest.raises(OptionError, match=said):
            open_credentials(*wrong)
    with pytest.raises(OptionError, match="not valid today"):
        open_credentials(*key_files(days=-1))


def test_a_key_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        open_credentials(folder=tmp_path / "file" / "imagic")


def test_without_the_packages_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "c2pa":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NotAvailable, match=r"pip install 'imagic\[provenance\]'"):
        open_credentials()
