"""Models of the hub, served from this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from imagic.backbones import hub, loading
from imagic.core.errors import ModelError
from tests.backbones.hub_server import COMMIT, serving
from tests.conftest import build_pipeline

ID, TOKEN = "someone/tiny", "hf_secret"

# The hub's variables are read when its client is imported: a process of its own, with one call after the other.
PROGRAM = """
import json, os, sys
from imagic.backbones import hub
from imagic.core.errors import ModelError

for token, call in json.loads(sys.argv[1]):
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        print(hub.fetch(**call))
    except ModelError as error:
        print(error)
"""


def fetch(home: Path, calls: list[tuple[str, dict[str, Any]]], **variables: str) -> list[str]:
    """What each call of hub.fetch returned or said, in a new process. calls: the token in force, and the arguments."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(calls)],
        env={**env, "HF_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_named_model_is_fetched_once_and_found_offline(tmp_path: Path) -> None:
    pipeline = build_pipeline()
    pipeline.save_pretrained(tmp_path / "model")
    expected = loading.load(tmp_path / "model", "cpu").fingerprint
    pipeline.to(torch.float16).save_pretrained(tmp_path / "model", variant="fp16")
    for useless in ("unet/diffusion_pytorch_model.bin", "picture.png", "safety_checker/model.safetensors"):
        (tmp_path / "model" / useless).parent.mkdir(exist_ok=True)
        (tmp_path / "model" / useless).write_bytes(b"useless")
    call: dict[str, Any] = {"model_id": ID}
    with serving(ID, tmp_path / "model", TOKEN) as (address, fetched):
        gated, folder, again, varied, other, unknown, missing, single = fetch(
            tmp_path / "home",
            [
                ("", call),
                (TOKEN, call),
                (TOKEN, call),
                (TOKEN, call | {"variant": "fp16", "revision": COMMIT}),
                (TOKEN, call | {"revision": "old"}),
                (TOKEN, {"model_id": "someone/else"}),
                (TOKEN, call | {"variant": "bf16"}),
                (TOKEN, {"model_id": "someone/files"}),
            ],
            HF_ENDPOINT=address,
        )
    assert "is gated" in gated
    assert "set HF_TOKEN" in gated
    assert folder == again == varied == str(tmp_path / "home" / "hub" / "models--someone--tiny" / "snapshots" / COMMIT)
    assert len(fetched) == len(set(fetched))
    assert not [name for name in fetched if "safety" in name or name.endswith((".bin", ".png"))]
    assert len([name for name in fetched if name.endswith(".fp16.safetensors")]) == 3
    assert "has no revision 'old'" in other
    assert "no model 'someone/else', neither as a folder nor on the hub" in unknown
    assert "could not be downloaded" in missing
    assert "'someone/files' has no model_index.json" in single
    assert loading.load(folder, "cpu").fingerprint == expected
    offline = fetch(tmp_path / "home", [("", call), ("", {"model_id": "someone/else"})], HF_HUB_OFFLINE="1")
    assert offline[0] == folder
    assert "no model 'someone/else' in the hub's cache, and HF_HUB_OFFLINE forbids" in offline[1]


def test_whatever_stands_in_the_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("the cable is cut\nand more")

    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=r"'someone/tiny' could not be downloaded: the cable is cut$"):
        hub.fetch(ID)


def test_a_model_of_no_known_family_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "model_index.json"
    index.write_text('{"_class_name": "KandinskyPipeline"}')
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_, **__: str(index))
    monkeypatch.setattr(hub.DiffusionPipeline, "download", pytest.fail)
    with pytest.raises(ModelError, match="KandinskyPipeline are not supported"):
        loading.load("someone/kandinsky")


def test_a_hub_id_or_an_alias_is_fetched_with_all_that_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_pipeline().to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    calls: list[tuple[str, dict[str, Any]]] = []

    def fetched(model_id: str, **keywords: Any) -> Path:
        calls.append((model_id, keywords))
        return tmp_path

    monkeypatch.setattr(hub, "fetch", fetched)
    for name in ("someone/tiny", "sdxl"):
        backbone = loading.load(name, "cpu", variant="fp16", revision="old", allow_pickle=True)
        assert backbone.name == name
    asked = {"variant": "fp16", "revision": "old", "allow_pickle": True}
    assert all(keywords.pop("check")(tmp_path) for _, keywords in calls)
    assert calls == [("someone/tiny", asked), (loading.ALIASES["sdxl"], asked)]
