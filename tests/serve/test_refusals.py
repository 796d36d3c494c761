"""What the service does not do, whoever asks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from imagic.serve.app import create_app
from imagic.serve.keys import Key, open_key
from imagic.serve.settings import Settings
from imagic.serve.store import Store
from tests.serve.conftest import ADDRESS, EDITS, asked, encoded

Make = Callable[..., dict[str, Any]]
NO_EDIT = "0" * 32


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"strength": False}, "strength"),
        ({"strength": "0.5"}, "strength"),
        ({"eta": []}, "eta"),
        ({"seed": True}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"seed": -1}, "seed"),
        ({"num_seeds": 17}, "num_seeds"),
        ({"plain": 1}, "plain"),
        ({"text": 5}, "text"),
        ({"text": ""}, "text"),
        ({"text": "   "}, "empty"),
        ({"text": "x" * 2001}, "text"),
        ({"crop": [0, 0, 1]}, "crop"),
        ({"options": {"num_steps": "20"}}, "num_steps"),
        ({"options": {"num_steps": False}}, "num_steps"),
        ({"options": {"no_such": 1}}, "no_such"),
        ({"options": {"num_steps": {"a": 1}}}, "num_steps"),
        ({"method": "no-such"}, "no-such"),
        ({"preset": "no-such"}, "no-such"),
        ({"surprise": 1}, "surprise"),
        ({"eta": 0.5, "strength": 0.5}, "strength"),
        ({"eta": 5.0}, "eta"),
        ({"image": "not base64!"}, "base64"),
        ({"image": base64.b64encode(b"no image").decode()}, "not an image"),
        ({"image": base64.b64encode(encoded()[:200]).decode()}, "damaged"),
        ({"mask": base64.b64encode(encoded()).decode()}, "colours"),
        ({"mask": base64.b64encode(encoded(np.zeros((30, 40), np.uint8))).decode()}, "black"),
        ({"options": {"mask_feather": 0.1}}, "mask"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_leaves_nothing(
    client: TestClient, settings: Settings, changes: dict[str, Any], word: str
) -> None:
    answer = client.post(EDITS, json=asked() | changes)
    assert answer.status_code == 422, answer.text
    (sentence,) = answer.json().values()
    assert word in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert list(settings.jobs.iterdir()) == []


def test_numbers_that_are_none_and_bodies_that_are_no_json(client: TestClient) -> None:
    for body in (json.dumps(asked(eta=float("nan"))), "{", "[1]", "null", '"x"', "[" * 10_000):
        answer = client.post(EDITS, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422, body[:20]
    assert client.post(EDITS, content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post(EDITS, content=b"x").status_code == 415
    broken = client.post(EDITS, content=b"x", headers={"content-type": "multipart/form-data; boundary=b"})
    assert broken.status_code in (400, 422)


def test_no_path_or_address_in_a_request_is_opened(client: TestClient, tmp_path: Path) -> None:
    """Were the folder looked at, another sentence would come."""
    (tmp_path / "model_index.json").write_text("{}")
    named = [
        {"model": str(tmp_path)},
        {"model": "http://127.0.0.1:1/model"},
        {"options": {"encoder": str(tmp_path)}},
        {"method": "text2live", "source_text": "a dog", "options": {"encoder": str(tmp_path)}},
    ]
    for changes in named:
        answer = client.post(EDITS, json=asked() | changes)
        assert answer.status_code == 422
        assert str(tmp_path) not in answer.text
        assert "alone" in answer.text or "may name a file" in answer.text
    form = {"text": "x", "image": str(tmp_path / "model_index.json")}
    assert "base64" in client.post(EDITS, data=form, files={"mask": encoded()}).text
    for path in ("..%2f..%2fjobs.sqlite", "..", "%00", "x" * 32, "A" * 32, NO_EDIT + "%0a", NO_EDIT + "/../x"):
        assert client.get(f"{EDITS}/{path}/state").status_code in (404, 422), path
    for output in ("result", "input", "sheet", "state", "..%2fjobs.sqlite", "input.png"):
        assert client.get(f"{EDITS}/{NO_EDIT}/{output}").status_code == 404
    for path in ("/../settings.py", "/%2e%2e/settings.py", "/..%2fsettings.py", "//etc/passwd"):
        assert client.get(path).status_code == 404


def test_idempotency(client: TestClient, make: Make) -> None:
    headers = {"Idempotency-Key": "one"}
    first = client.post(EDITS, json=asked(), headers=headers)
    again = client.post(EDITS, json=asked(), headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["location"] == f"{EDITS}/{first.json()['id']}"
    assert client.post(EDITS, json=asked(seed=1), headers=headers).status_code == 409
    mask = base64.b64encode(encoded(np.full((8, 8), 255, np.uint8))).decode()
    assert client.post(EDITS, json=asked(mask=mask), headers=headers).status_code == 409
    assert client.post(EDITS, json=asked(), headers={"Idempotency-Key": "two"}).status_code == 202
    assert client.post(EDITS, json=asked(), headers={"Idempotency-Key": "x y"}).status_code == 422


def test_limits_of_the_queue(client: TestClient, store: Store, settings: Settings, make: Make) -> None:
    for seed in range(3):
        make(seed=seed)
    mine = client.post(EDITS, json=asked())
    assert (mine.status_code, mine.headers["retry-after"]) == (429, "30")
    store.add("x" * 32, {}, "another", "", max_queue=100, max_per_client=100)
    all_of_us = client.post(EDITS, json=asked())
    assert (all_of_us.status_code, all_of_us.headers["retry-after"]) == (503, "30")
    assert len(list(settings.jobs.iterdir())) == 3


def test_limits_of_size(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "small", max_bytes=20_000, max_pixels=1000)
    with TestClient(create_app(settings, works=False), base_url=ADDRESS) as client:
        answer = client.post(EDITS, json=asked())
        assert (answer.status_code, "0.001 megapixels" in answer.text) == (422, True)
        for kind in ("application/json", "multipart/form-data; boundary=b"):
            told = client.post(EDITS, content=b"x" * 20_001, headers={"content-type": kind})
            streamed = client.post(EDITS, content=iter([b"x" * 15_000] * 2), headers={"content-type": kind})
            assert (told.status_code, streamed.status_code) == (413, 413), kind
        streamed = client.post(f"{EDITS}/{NO_EDIT}/again", content=iter([b" " * 15_000] * 2))
        assert streamed.status_code == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost:7860", 200),
        ("LOCALHOST", 200),
        ("[::1]:7860", 200),
        ("192.168.0.7", 200),
        ("cat.example:7860", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
def test_only_by_its_own_names(tmp_path: Path, host: str, status: int) -> None:
    with TestClient(create_app(Settings(tmp_path), hosts=["cat.example"], works=False), base_url=ADDRESS) as client:
        assert client.get("/api/v1/health", headers={"host": host}).status_code == status


def test_pages_of_other_sites_are_refused(client: TestClient) -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://127.0.0.1:7860.evil.example"},
        {"sec-fetch-site": "cross-site"},
    ):
        assert client.post(EDITS, json=asked(), headers=headers).status_code == 403, headers
        assert client.delete(f"{EDITS}/{NO_EDIT}", headers=headers).status_code == 403, headers
    own = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
    assert client.post(EDITS, json=asked(), headers=own).status_code == 202


def test_headers_of_every_answer(client: TestClient) -> None:
    for path in ("/", "/api/v1/health", EDITS, "/no-such", f"{EDITS}/x"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
    assert client.get(EDITS).headers["cache-control"] == "no-store"


def test_a_key_is_made_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key, made = open_key(path)
    assert len(made) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert made not in path.read_text()
    again, nothing = open_key(path)
    assert (again, nothing) == (key, "")
    assert again.opens(made)
    assert not again.opens(made[:-1])
    assert not again.opens("")
    assert not again.opens(again.hash)


def test_a_service_with_a_key(tmp_path: Path) -> None:
    key, made = open_key(tmp_path / "key")
    app = create_app(Settings(tmp_path / "data"), key, works=False)
    with TestClient(app, base_url=ADDRESS) as client:
        paths = [path for path in app.openapi()["paths"] if path not in ("/api/v1/health", "/api/v1/login")]
        assert len(paths) > 10
        for path in [*paths, "/api/v1/openapi.json", "/api/v1/no-such"]:
            answer = client.get(path.replace("{id}", NO_EDIT).replace("{name}", "posture"))
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        for wrong in ("Bearer x", f"Basic {made}", "Bearer", f"bearer {made}x", "Bearer \xfc".encode("latin-1")):
            assert client.get(EDITS, headers={"authorization": wrong}).status_code == 401
        assert client.get(EDITS, headers={"authorization": f"Bearer {made}"}).status_code == 200
        assert client.get("/api/v1/health").json()["needs_key"] is True
        assert client.get("/").status_code == 200
        assert client.post("/api/v1/login", json={"key": "wrong"}).status_code == 401
        login = client.post("/api/v1/login", json={"key": made})
        assert login.status_code == 204
        assert {"httponly", "samesite=strict"} <= set(login.headers["set-cookie"].lower().split("; "))
        assert client.get(EDITS).status_code == 200  # by the cookie


def test_two_servers_do_not_share_a_folder(client: TestClient, settings: Settings) -> None:
    with pytest.raises(Exception, match="Another server uses"), TestClient(create_app(settings, works=False)):
        pass


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    seen: list[Any] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append((a, b)) or False)
    assert not Key("ab" * 32).opens("x")
    assert len(seen) == 1
