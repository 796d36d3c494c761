"""What a page needs to know: model, methods, examples, health, metrics, the description of the interface."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from imagic.core import registry
from imagic.serve.requests import EditRequest
from imagic.serve.settings import Settings
from imagic.serve.store import Store
from imagic.serve.worker import MODEL, Worker
from tests.serve.conftest import EDITS, asked

API = "/api/v1"
ROOT = Path(__file__).resolve().parent.parent.parent


def test_methods_with_every_option(client: TestClient, worker: Worker) -> None:
    found = client.get(f"{API}/methods").json()
    assert [each["name"] for each in found["methods"]] == list(registry.names(registry.Group.METHODS))
    assert found["default"] == "imagic"
    by_name = {each["name"]: each for each in found["methods"]}
    assert by_name["imagic"]["available"] is True
    assert by_name["instruct_pix2pix"]["available"] is False
    (option,) = [each for each in by_name["imagic"]["fit"] if each["name"] == "embedding_steps"]
    kind = registry.method("imagic").FitOptions
    field = kind.__dataclass_fields__["embedding_steps"]
    assert option["default"] == field.default
    assert (option["minimum"], option["help"]) == (field.metadata["minimum"], field.metadata["help"])


def test_what_may_name_a_file_is_said_not_to_be_settable(client: TestClient, worker: Worker) -> None:
    """What is said is what the service does."""
    methods = client.get(f"{API}/methods").json()["methods"]
    imagic = next(each for each in methods if each["name"] == "imagic")
    settable = {option["name"]: option["settable"] for option in (*imagic["fit"], *imagic["edit"])}
    assert {name for name, may in settable.items() if not may} == {"parts", "encoder"}
    for name, value in (("parts", ["attn2"]), ("encoder", "/etc"), ("sampler", "dpmpp_2m"), ("target_text", "a cat")):
        answer = client.post(EDITS, json=asked(options={name: value}))
        refused = "may name a file" in answer.text
        assert refused is not settable[name], answer.text


def test_the_limits_are_those_that_hold(client: TestClient, settings: Settings) -> None:
    found = client.get(f"{API}/limits").json()
    assert found == {
        "max_bytes": settings.max_bytes,
        "max_pixels": settings.max_pixels,
        "max_text": 2000,
        "max_seeds": 16,
        "max_strengths": 21,
        "max_queue": 4,
        "max_per_client": 3,
    }
    for most, asks in (
        (found["max_text"], lambda n: {"text": "a" * n}),
        (found["max_seeds"], lambda n: {"num_seeds": n}),
        (found["max_strengths"], lambda n: {"eta": [0.5] * n}),
    ):
        answers = [client.post(EDITS, json=asked(**asks(n))) for n in (most, most + 1)]
        assert [answer.status_code for answer in answers] == [202, 422]


def test_the_model_is_told_by_the_worker(client: TestClient, store: Store) -> None:
    assert client.get(f"{API}/models").json()["models"][0]["loaded"] is False
    assert client.get(f"{API}/health").json()["status"] == "starting"
    store.set_fact(MODEL, {"error": "There is no such model."})
    health = client.get(f"{API}/health")
    assert (health.status_code, health.json()["status"]) == (503, "failing")
    refused = client.post(EDITS, json=asked())
    assert (refused.status_code, refused.json()["detail"]) == (503, "There is no such model.")


def test_a_loaded_model(client: TestClient, worker: Worker) -> None:
    (model,) = client.get(f"{API}/models").json()["models"]
    assert (model["name"], model["loaded"], model["image_size"]) == ("tiny", True, 16)
    assert "guidance" in model["abilities"]
    assert client.get(f"{API}/health").json()["status"] == "ok"
    assert client.post(EDITS, json=asked(model="tiny")).status_code == 202


def test_examples_are_those_of_the_readme(client: TestClient) -> None:
    found = {each["name"]: each for each in client.get(f"{API}/examples").json()["examples"]}
    assert len(found) == 6
    assert found["posture"]["text"]
    for name, path in (("posture", "dog.png"), ("style", "style.png")):
        answer = client.get(f"{API}/examples/{name}")
        assert answer.headers["content-type"] == "image/png"
        given = np.asarray(Image.open(ROOT / "examples" / path))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), given)
    assert client.get(f"{API}/examples/nothing").status_code == 404


def test_metrics_in_prometheus_format(client: TestClient) -> None:
    client.post(EDITS, json=asked())
    client.get(f"{API}/no-such")
    text = client.get(f"{API}/metrics").text
    assert 'imagic_jobs{state="queued"} 1\n' in text
    assert 'imagic_jobs{state="failed"} 0\n' in text
    assert 'imagic_http_requests_total{method="POST",status="202"} 1\n' in text
    assert 'imagic_http_requests_total{method="GET",status="404"} 1\n' in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{\w+=\"\w+\"(,\w+=\"\w+\")*\})? [0-9.e+-]+", line), line


def test_the_description_is_whole(client: TestClient) -> None:
    description = client.get(f"{API}/openapi.json").json()
    body = description["paths"][EDITS]["post"]["requestBody"]["content"]
    EditRequest.model_validate_json(json.dumps(body["application/json"]["example"]))
    assert client.post(EDITS, json=body["application/json"]["example"]).status_code == 202
    assert body["multipart/form-data"]["schema"]["properties"]["image"]["format"] == "binary"
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(description)))
    assert references <= set(description["components"]["schemas"])


def test_a_page_stands_at_the_root_and_asks_nobody_else(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "/api/v1/openapi.json" in page.text
    assert not re.search(r"(https?:)?//\w", page.text.replace("<!doctype html>", ""))


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_that_loads_from_elsewhere(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
