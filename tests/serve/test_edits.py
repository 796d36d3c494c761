"""A whole edit over HTTP: asked, queued, done, fetched, made again, removed."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import imagic
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.provenance import read_record
from imagic.core.types import Progress
from imagic.serve.settings import Settings
from imagic.serve.store import Store
from imagic.serve.worker import Worker
from tests.keeping import PIXELS
from tests.serve.conftest import EDITS, asked, encoded, pixels_of
from tests.test_api import EDIT, FIT, TEXT

Make = Callable[..., dict[str, Any]]


def expected(backbone: StableDiffusionBackbone, **values: Any) -> Any:
    """What the library itself makes of it."""
    values = {"eta": 1.0, "plain": True, "options": FIT | EDIT, **values}
    return [np.asarray(image) for image in imagic.edit(PIXELS, TEXT, model=backbone, **values).images]


def test_an_edit_gives_the_pixels_of_the_library(
    client: TestClient, worker: Worker, make: Make, backbone: StableDiffusionBackbone, settings: Settings
) -> None:
    made = make(eta=[0.0, 1.0], num_seeds=2)
    assert (made["state"], made["position"]) == ("queued", 1)
    assert worker.run_one()
    seen = client.get(f"{EDITS}/{made['id']}").json()
    assert (seen["state"], seen["error"], seen["position"]) == ("done", None, 0)
    assert [(each["strength"], each["seed"]) for each in seen["images"]] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    files = [client.get(f"{EDITS}/{made['id']}/result", params={"index": i}) for i in range(4)]
    assert {answer.headers["content-type"] for answer in files} == {"image/png"}
    for answer, image in zip(files, expected(backbone, eta=[0.0, 1.0], num_seeds=2), strict=True):
        assert np.array_equal(pixels_of(answer.content), image)
    assert set(seen["outputs"]) == {"input", "sheet", "animation", "preview", "state"}
    for output, kind in (("sheet", "PNG"), ("animation", "WEBP"), ("preview", "PNG"), ("input", "PNG")):
        assert Image.open(io.BytesIO(client.get(f"{EDITS}/{made['id']}/{output}").content)).format == kind
    assert np.array_equal(pixels_of(client.get(f"{EDITS}/{made['id']}/input").content), PIXELS)
    record = read_record(settings.folder(made["id"]) / "result-3.png")
    assert (record.seed, record.strength, record.target_text) == (1, 1.0, TEXT)
    assert not worker.run_one()


def test_json_and_a_form_are_one_request(client: TestClient, make: Make, store: Store) -> None:
    mask = encoded(np.full((30, 40), 255, np.uint8))
    by_json = make(mask=base64.b64encode(mask).decode(), crop=[0, 0, 30, 30], seed=3)
    form = {
        "text": TEXT,
        "eta": "1.0",
        "plain": "true",
        "seed": "3",
        "crop": "[0, 0, 30, 30]",
        "options": json.dumps(FIT | EDIT),
    }
    answer = client.post(EDITS, data=form, files={"image": ("../../x.png", encoded()), "mask": ("m", mask)})
    assert answer.status_code == 202, answer.text
    first, second = store.get(by_json["id"]), store.get(answer.json()["id"])
    assert first is not None
    assert second is not None
    assert first.request == second.request
    assert first.body == second.body
    auto = client.post(EDITS, data={"text": TEXT, "eta": "auto"}, files={"image": encoded()})
    assert auto.json()["request"]["eta"] == "auto"


def test_again_renders_from_the_fit_alone(
    client: TestClient, worker: Worker, make: Make, backbone: StableDiffusionBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(mask=None, seed=5)
    assert client.post(f"{EDITS}/{made['id']}/again", json={}).status_code == 409
    worker.run_one()
    # Not even from the cache is the fit asked for.
    monkeypatch.setattr(imagic, "fit", None)
    path = f"{EDITS}/{made['id']}/again"
    other = client.post(path, json={"strength": 0.4, "options": {"num_steps": 3}})
    assert other.status_code == 202, other.text
    assert other.json()["again_of"] == made["id"]
    assert other.json()["request"]["seed"] == 5
    assert client.delete(f"{EDITS}/{made['id']}").status_code == 204
    worker.run_one()
    seen = client.get(f"{EDITS}/{other.json()['id']}").json()
    assert (seen["state"], seen["error"]) == ("done", None)
    monkeypatch.undo()
    image = client.get(f"{EDITS}/{seen['id']}/result").content
    fit_and_edit = FIT | {"num_steps": 3}
    assert np.array_equal(pixels_of(image), expected(backbone, eta=0.4, seed=5, options=fit_and_edit)[0])
    refused = client.post(f"{EDITS}/{seen['id']}/again", json={"options": {"network_steps": 5}})
    assert (refused.status_code, "network_steps" in refused.json()["detail"]) == (422, True)


def test_a_mask_stays_for_another_edit(client: TestClient, worker: Worker, make: Make) -> None:
    plane = np.zeros((30, 40), np.uint8)
    plane[:, 20:] = 255
    made = make(mask=base64.b64encode(encoded(plane)).decode())
    worker.run_one()
    other = client.post(f"{EDITS}/{made['id']}/again", json={"eta": 0.7}).json()
    worker.run_one()
    for id in (made["id"], other["id"]):
        image = pixels_of(client.get(f"{EDITS}/{id}/result").content)
        assert np.array_equal(image[:, :20], PIXELS[:, :20])
        assert not np.array_equal(image, PIXELS)
        assert np.array_equal(pixels_of(client.get(f"{EDITS}/{id}/mask").content)[..., 0], plane)


def test_a_waiting_edit_is_cancelled_at_once_and_a_running_one_at_its_next_step(
    client: TestClient, worker: Worker, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, waiting = make(), make(seed=1)
    assert waiting["position"] == 2
    assert client.post(f"{EDITS}/{waiting['id']}/cancel").json()["state"] == "cancelled"
    seen: list[Any] = []

    def cancelling(progress: Progress) -> None:
        if not seen:
            seen.append(client.post(f"{EDITS}/{running['id']}/cancel").json())
            assert client.delete(f"{EDITS}/{running['id']}").status_code == 409

    from imagic.serve import worker as module

    report = module.Reporter.__call__
    monkeypatch.setattr(module.Reporter, "__call__", lambda self, p: (cancelling(p), report(self, p))[1])
    assert worker.run_one()
    assert (seen[0]["state"], seen[0]["cancelling"]) == ("running", True)
    ended = client.get(f"{EDITS}/{running['id']}").json()
    assert (ended["state"], ended["images"], ended["cancelling"]) == ("cancelled", [], False)
    assert client.post(f"{EDITS}/{running['id']}/cancel").json() == ended
    assert not worker.run_one()


def test_what_the_model_cannot_do_fails_with_its_sentence(client: TestClient, worker: Worker, make: Make) -> None:
    made = make(crop=[0, 0, 4000, 10])
    worker.run_one()
    seen = client.get(f"{EDITS}/{made['id']}").json()
    assert seen["state"] == "failed"
    assert "crop" in seen["error"].lower()
    refused = client.post(EDITS, json=asked(method="instruct_pix2pix", options={}, eta="auto"))
    assert (refused.status_code, "instruction" in refused.json()["detail"]) == (422, True)


def test_a_bug_fails_the_job_and_not_the_worker(
    client: TestClient, worker: Worker, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make()
    with monkeypatch.context() as patch:
        patch.setattr(imagic, "edit", lambda *_, **__: 1 / 0)
        assert worker.run_one()
    seen = client.get(f"{EDITS}/{made['id']}").json()
    assert seen["error"] == "imagic failed (ZeroDivisionError); its log says where."
    make()
    assert worker.run_one()


def test_events_tell_of_an_edit_to_its_end(client: TestClient, worker: Worker, make: Make) -> None:
    made = make()
    worker.run_one()
    with client.stream("GET", f"{EDITS}/{made['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    assert lines[1] == "event: edit"
    told = json.loads(lines[2].removeprefix("data: "))
    assert told == client.get(f"{EDITS}/{made['id']}").json()
    assert lines[0] == f"id: {told['version']}"


def test_history_is_paged_and_outlives_the_server(client: TestClient, make: Make, store: Store) -> None:
    made = []
    for seed in range(5):
        made.append(make(seed=seed)["id"])
        client.post(f"{EDITS}/{made[-1]}/cancel")
    first = client.get(EDITS, params={"limit": 2}).json()
    second = client.get(EDITS, params={"limit": 3, "before": first["next"]}).json()
    assert [each["id"] for each in first["edits"] + second["edits"]] == made[::-1]
    assert second["next"] is None


def test_a_deleted_edit_leaves_nothing(client: TestClient, worker: Worker, make: Make, settings: Settings) -> None:
    made = make()
    worker.run_one()
    assert settings.folder(made["id"]).is_dir()
    assert client.delete(f"{EDITS}/{made['id']}").status_code == 204
    assert not settings.folder(made["id"]).exists()
    assert client.get(f"{EDITS}/{made['id']}").status_code == 404
    assert client.get(EDITS).json() == {"edits": [], "next": None}
