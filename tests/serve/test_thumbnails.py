"""Small copies of an edit's pictures, and the edits of one fit: what a list of pictures is made of."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from imagic.serve import thumbnails
from imagic.serve.settings import Settings
from imagic.serve.store import Store
from imagic.serve.worker import Worker
from tests.serve.conftest import EDITS, encoded, pixels_of

Make = Callable[..., dict[str, Any]]


def small(client: TestClient, id: str, **query: int) -> Any:
    return client.get(f"{EDITS}/{id}/thumbnail", params=query)


def test_the_input_is_made_small_by_its_longer_side(
    client: TestClient, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.zeros((400, 800, 3), np.uint8)
    pixels[:, 400:] = (250, 120, 10)
    made = make(image=base64.b64encode(encoded(pixels)).decode())
    answer = small(client, made["id"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    shown = Image.open(io.BytesIO(answer.content))
    assert (shown.format, shown.size) == ("WEBP", (320, 160))
    seen = pixels_of(answer.content).astype(int)
    assert np.abs(seen[:, :150]).max() <= 6
    assert np.abs(seen[:, 170:] - (250, 120, 10)).max() <= 6
    monkeypatch.setattr(thumbnails.Image, "open", None)  # it is there now, and not made again
    assert small(client, made["id"]).content == answer.content


def test_a_small_picture_keeps_its_size_and_each_result_has_its_own(
    client: TestClient, worker: Worker, make: Make, settings: Settings
) -> None:
    made = make(eta=[0.0, 1.0])
    assert small(client, made["id"], index=0).status_code == 404
    worker.run_one()
    for index in (0, 1):
        given = pixels_of(client.get(f"{EDITS}/{made['id']}/result", params={"index": index}).content).astype(int)
        seen = pixels_of(small(client, made["id"], index=index).content).astype(int)
        assert seen.shape == given.shape == (30, 40, 3)
        # WebP halves the colours' resolution; brightness stays.
        assert np.abs(seen.mean(axis=2) - given.mean(axis=2)).mean() < 12
    assert small(client, made["id"], index=2).status_code == 404
    assert small(client, "0" * 32).status_code == 404
    assert client.delete(f"{EDITS}/{made['id']}").status_code == 204
    assert not settings.folder(made["id"]).exists()


def test_a_family_is_every_edit_of_one_fit(client: TestClient, worker: Worker, make: Make, store: Store) -> None:
    first, other = make(), make(seed=3)
    worker.run_one()
    again = client.post(f"{EDITS}/{first['id']}/again", json={"eta": 0.5}).json()
    worker.run_one()
    worker.run_one()
    after = client.post(f"{EDITS}/{again['id']}/again", json={"eta": 0.6}).json()

    def family(id: str, **query: int) -> list[str]:
        answer = client.get(f"{EDITS}/{id}/family", params=query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["edits"]]

    newest_first = [after["id"], again["id"], first["id"]]
    assert family(first["id"]) == family(again["id"]) == family(after["id"]) == newest_first
    assert family(after["id"], limit=1) == [after["id"]]
    assert family(other["id"]) == [other["id"]]
    # What lies between them may go; they stay one family.
    assert client.delete(f"{EDITS}/{first['id']}").status_code == 204
    assert family(after["id"]) == [after["id"], again["id"]]
    beside = client.post(f"{EDITS}/{again['id']}/again", json={"eta": 0.7}).json()
    assert client.delete(f"{EDITS}/{again['id']}").status_code == 204
    assert family(after["id"]) == [beside["id"], after["id"]]
    assert client.get(f"{EDITS}/{first['id']}/family").status_code == 404
