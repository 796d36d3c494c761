"""What `imagic edit` writes into pictures by default, on demand or not at all, and what `imagic inspect` says of it."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagic.core.declaration import EDITED_BY_AI, read_declaration
from tests.cli.conftest import TINY_EDIT, TINY_FIT, Run
from tests.signing.conftest import key_files, no_keys_of_this_user

__all__ = ["key_files", "no_keys_of_this_user"]  # fixtures


def inspected(run: Run, path: str | Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(run("inspect", path, "--json").stdout)
    return facts


def test_pictures_say_by_default_that_ai_edited_them(edit: Run, run: Run, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    made = edit("-o", tmp_path / "out.png", "--sheet", sheet).stdout.strip()
    facts = inspected(run, made)
    assert facts["declares"]["digital_source_type"] == EDITED_BY_AI
    assert facts["declares"]["ai_system"] == "imagic, method imagic, model tiny"
    assert facts["content_credentials"] is None
    assert "none in this PNG" in facts["no_content_credentials_because"]
    with Image.open(sheet) as image:
        assert read_declaration(image)["digital_source_type"] == EDITED_BY_AI


def test_no_metadata_leaves_everything_out(edit: Run, run: Run, tmp_path: Path) -> None:
    sheet, sweep = tmp_path / "sheet.png", tmp_path / "sweep.gif"
    made = edit("-o", tmp_path / "out.png", "--no-metadata", "--sheet", sheet, "--animate", sweep).stdout.strip()
    facts = inspected(run, made)
    assert (facts["record"], facts["declares"]) == (None, {})
    for path in (Path(made), sheet, sweep):
        assert b"imagic" not in path.read_bytes()


def test_a_signed_picture_is_verified_and_tampering_shows(
    edit: Run, run: Run, tmp_path: Path, no_keys_of_this_user: Path
) -> None:
    made = Path(edit("-o", tmp_path / "out.jpg", "--sign").stdout.strip())
    assert [path.name for path in no_keys_of_this_user.iterdir()] == ["signing.pem"]
    found = inspected(run, made)["content_credentials"]
    assert (found["intact"], found["state"]) == (True, "own")
    data = bytearray(made.read_bytes())
    data[-100] ^= 1
    made.write_bytes(data)
    found = inspected(run, made)["content_credentials"]
    assert (found["intact"], found["state"]) == (False, "changed")
    assert "Changed after signing" in run("inspect", made).stdout


def test_a_flipped_byte_that_damages_the_picture_is_a_change_after_signing(
    edit: Run, run: Run, picture: Path, tmp_path: Path
) -> None:
    made = Path(edit("-o", tmp_path / "out.png", "--sign").stdout.strip())
    for path in (made, picture):
        data = bytearray(path.read_bytes())
        data[data.index(b"IDAT") + 200] ^= 1
        path.write_bytes(data)
    facts = inspected(run, made)
    assert "damaged or truncated" in facts["damage"]
    assert (facts["content_credentials"]["intact"], facts["content_credentials"]["state"]) == (False, "changed")
    refused = run("inspect", picture)
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_a_given_key_signs(edit: Run, run: Run, tmp_path: Path, key_files: Any, no_keys_of_this_user: Path) -> None:
    key, cert = key_files(name="Jo")
    made = edit("-o", tmp_path / "out.webp", "--sign", "--sign-key", key, "--sign-cert", cert).stdout.strip()
    found = inspected(run, made)["content_credentials"]
    assert (found["signed_by"], found["state"]) == ("Jo", "unknown")
    assert list(no_keys_of_this_user.iterdir()) == []


def test_what_is_made_again_says_as_much_or_as_little_as_asked(
    edit: Run, run: Run, picture: Path, model_folder: Path, tmp_path: Path, no_keys_of_this_user: Path
) -> None:
    made = edit("-o", tmp_path / "out.png").stdout.strip()
    again = ("redo", made, "--image", picture, "--model", model_folder)
    assert run(*again, "-o", tmp_path / "silent.png", "--no-metadata").exit_code == 0
    facts = inspected(run, tmp_path / "silent.png")
    assert (facts["record"], facts["declares"]) == (None, {})
    assert run(*again, "-o", tmp_path / "signed.png", "--sign").exit_code == 0
    found = inspected(run, tmp_path / "signed.png")["content_credentials"]
    assert (found["intact"], found["state"]) == (True, "own")
    assert run(*again, "-o", tmp_path / "both.png", "--sign", "--no-metadata").exit_code == 2
    assert not (tmp_path / "both.png").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_signs_each_of_its_pictures(
    run: Run, picture: Path, model_folder: Path, tmp_path: Path, no_keys_of_this_user: Path, workers: int
) -> None:
    out = tmp_path / "out"
    arguments = ("batch", picture.parent, "--text", "a cat", "--out", out, "--model", model_folder, "--num-seeds", "2")
    made = run(*arguments, *TINY_FIT, *TINY_EDIT, "--sign", *(("--workers", str(workers)) if workers else ()))
    assert made.exit_code == 0, made.stderr
    pictures = sorted(out.glob("*.png"))
    assert len(pictures) == 2
    for path in pictures:
        found = inspected(run, path)["content_credentials"]
        assert (found["intact"], found["state"]) == (True, "own")
    again = run(*arguments, *TINY_FIT, *TINY_EDIT, "--sign")
    assert "2 were done already" in again.stderr
    unsigned = run(*arguments, *TINY_FIT, *TINY_EDIT)
    assert (unsigned.exit_code, "overwrite" in unsigned.stderr) == (1, True)


def test_a_batch_with_a_missing_key_ends_before_any_work(
    run: Run, picture: Path, model_folder: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.pem"
    arguments = ("batch", picture.parent, "--text", "a cat", "--out", tmp_path / "out", "--model", model_folder)
    wrong = run(*arguments, "--sign", "--sign-key", missing, "--sign-cert", missing)
    assert (wrong.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "cannot be read" in wrong.stderr


def test_what_does_not_go_together_is_a_usage_error_before_any_work(edit: Run, tmp_path: Path) -> None:
    for arguments, said in (
        (("--sign", "--no-metadata"), "leave --no-metadata out"),
        (("--sign-key", "key.pem"), "give it too"),
    ):
        wrong = edit("-o", tmp_path / "out.png", *arguments)
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert said in " ".join(wrong.stderr.replace("│", " ").split())
        assert "Loading" not in wrong.stderr


def test_a_key_that_is_missing_is_told_before_any_work(edit: Run, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    wrong = edit("-o", tmp_path / "out.png", "--sign", "--sign-key", missing, "--sign-cert", missing)
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "cannot be read" in wrong.stderr
    assert "Loading" not in wrong.stderr


def test_without_the_extra_signing_is_refused_and_inspect_says_why(
    edit: Run, run: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "c2pa":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    refused = edit("-o", tmp_path / "out.png", "--sign")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "pip install 'imagic[provenance]'" in refused.stderr
    facts = inspected(run, picture)
    assert facts["content_credentials"] is None
    assert "pip install" in facts["no_content_credentials_because"]
