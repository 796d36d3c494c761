"""Folders: variants, stored precision, pickles, parts that are left out, quantised text encoders."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from imagic.backbones import loading, reading
from imagic.core.errors import ModelError, NotAvailable, OptionError
from tests.backbones.conftest import FAMILIES
from tests.backbones.test_families import TEXT
from tests.backbones.tiny import build_flux, build_sd3
from tests.conftest import build_pipeline

TWO = "{}-00001-of-00002.safetensors", "{}-00002-of-00002.safetensors"


def halved(pipeline: Any) -> Any:
    """The pipeline with weights that half precision holds exactly, and are others."""
    for part in ("unet", "vae", "text_encoder"):
        for parameter in getattr(pipeline, part).parameters():
            parameter.data = (0.5 * parameter.data).half().float()
    return pipeline


def test_a_variant_is_taken_where_a_part_has_it(tmp_path: Path) -> None:
    build_pipeline().save_pretrained(tmp_path)
    plain = loading.load(tmp_path, "cpu")
    halved(build_pipeline()).save_pretrained(tmp_path / "half", variant="fp16")
    for file in (tmp_path / "half").glob("*/*.fp16.safetensors"):
        if file.parent.name != "vae":
            file.rename(tmp_path / file.parent.name / file.name)
    varied = loading.load(tmp_path, "cpu", variant="fp16")
    half = dict(halved(build_pipeline()).unet.named_parameters())
    assert all(torch.equal(p, half[name]) for name, p in varied.network.named_parameters())  # type: ignore[attr-defined]
    assert all(map(torch.equal, varied.vae.parameters(), plain.vae.parameters()))  # type: ignore[attr-defined]
    assert loading.load(tmp_path, "cpu").fingerprint == plain.fingerprint != varied.fingerprint
    with pytest.raises(ModelError, match="no weights of the variant 'bf16'"):
        loading.load(tmp_path, "cpu", variant="bf16")


def test_shards_are_read_in_either_naming(tmp_path: Path) -> None:
    pipeline = build_pipeline()
    pipeline.save_pretrained(tmp_path)
    whole = loading.load(tmp_path, "cpu").fingerprint
    pipeline.unet.save_pretrained(tmp_path / "unet", max_shard_size="20KB")
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink(missing_ok=True)
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    assert loading.load(tmp_path, "cpu").fingerprint == whole
    pipeline.unet.save_pretrained(tmp_path / "unet", max_shard_size="20KB", variant="fp16")
    assert loading.load(tmp_path, "cpu", variant="fp16").fingerprint == whole


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([torch.float32], torch.float32),
        ([torch.float16], torch.float16),
        ([torch.bfloat16], torch.bfloat16),
        ([torch.bfloat16, torch.float8_e4m3fn], torch.bfloat16),
        ([torch.bfloat16, torch.float16], torch.float32),
        ([torch.float16, torch.float32], torch.float32),
        ([torch.float16, torch.int64], torch.float16),
        ([torch.int64], torch.float32),
    ],
)
def test_the_stored_precision_holds_every_tensor(
    tmp_path: Path, kinds: list[torch.dtype], expected: torch.dtype
) -> None:
    files = [tmp_path / f"{i}.safetensors" for i in range(len(kinds))]
    for file, kind in zip(files, kinds, strict=True):
        save_file({"x": torch.ones(2).to(kind)}, file)
    assert reading.stored_dtype(files) == expected


def test_weights_take_no_more_memory_than_they_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-precision files are read as such, and cast when they are in place."""
    build_sd3().to(torch.bfloat16).save_pretrained(tmp_path)
    seen: dict[str, torch.dtype] = {}
    original = reading.read_parts

    def spied(*arguments: Any) -> dict[str, Any]:
        parts = original(*arguments)
        seen.update({name: part.dtype for name, part in parts.items() if isinstance(part, torch.nn.Module)})
        return parts

    monkeypatch.setattr("imagic.backbones.stable_diffusion_3.read_parts", spied)
    backbone = loading.load(tmp_path, "cpu", torch.float32)
    assert set(seen.values()) == {torch.bfloat16}
    assert len(seen) == 5
    assert backbone.network.dtype == torch.float32  # type: ignore[attr-defined]


def test_pickled_weights_need_permission(tmp_path: Path) -> None:
    pipeline = build_pipeline()
    pipeline.save_pretrained(tmp_path)
    whole = loading.load(tmp_path, "cpu").fingerprint
    for file, part in (("diffusion_pytorch_model", "unet"), ("model", "text_encoder")):
        (tmp_path / part / f"{file}.safetensors").unlink()
    torch.save(pipeline.unet.state_dict(), tmp_path / "unet" / "diffusion_pytorch_model.bin")
    torch.save(pipeline.text_encoder.state_dict(), tmp_path / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.bin of unet: it is pickled.*--allow-pickle"):
        loading.load(tmp_path, "cpu")
    assert loading.load(tmp_path, "cpu", allow_pickle=True).fingerprint == whole


def test_permission_does_not_run_what_a_pickle_asks_for(tmp_path: Path) -> None:
    """Where safetensors are, pickles are not even opened; and torch reads tensors alone."""

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    build_pipeline().save_pretrained(tmp_path)
    bad = tmp_path / "unet" / "diffusion_pytorch_model.bin"
    torch.save({"conv_in.weight": Trap()}, bad)
    loading.load(tmp_path, "cpu", allow_pickle=True)
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        loading.load(tmp_path, "cpu", allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_t5_may_be_left_out_of_sd3_alone(tmp_path: Path) -> None:
    for build, part, there in ((build_sd3, "text_encoder_3", True), (build_flux, "text_encoder_2", False)):
        folder = tmp_path / part
        build().save_pretrained(folder)
        index = folder / "model_index.json"
        without = json.loads(index.read_text()) | {
            part: [None, None],
            part.replace("text_encoder", "tokenizer"): [None, None],
        }
        index.write_text(json.dumps(without))
        for name in (part, part.replace("text_encoder", "tokenizer")):
            for file in (folder / name).iterdir():
                file.unlink()
        if there:
            assert "t5" not in loading.load(folder, "cpu").encode_text([TEXT]).tensors
        else:
            with pytest.raises(ModelError, match=r"no weights in '.*text_encoder_2'"):
                loading.load(folder, "cpu")


def test_t5_is_left_out_with_its_tokenizer(tmp_path: Path) -> None:
    build_sd3().save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    whole = json.loads(index.read_text())
    for part in ("text_encoder_3", "tokenizer_3"):
        index.write_text(json.dumps({**whole, part: [None, None]}))
        with pytest.raises(ModelError, match="only a part of text_encoder_3, tokenizer_3"):
            loading.load(tmp_path, "cpu")
    index.write_text(json.dumps({**whole, "tokenizer_3": 3}))  # what else stands there is not read
    assert "t5" in loading.load(tmp_path, "cpu").encode_text([TEXT]).tensors


def test_quantising_is_refused_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_pipeline().save_pretrained(tmp_path / "sd")
    with pytest.raises(OptionError, match="no T5 text encoder"):
        loading.load(tmp_path / "sd", "cpu", quantise="8bit")
    with pytest.raises(OptionError, match="8bit or 4bit, not '2bit'"):
        loading.load(tmp_path / "sd", "cpu", quantise="2bit")
    build_flux().save_pretrained(tmp_path / "flux")
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    with pytest.raises(NotAvailable, match=r"imagic\[lowmem\]"):
        loading.load(tmp_path / "flux", "cpu", quantise="8bit")


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the extra lowmem")
@pytest.mark.parametrize(("quantise", "near"), [("8bit", 0.05), ("4bit", 0.2)])
@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_a_quantised_text_encoder_says_nearly_the_same(tmp_path: Path, name: str, quantise: str, near: float) -> None:
    family = next(each for each in FAMILIES if each.name == name)
    family.build().save_pretrained(tmp_path)
    exact = loading.load(tmp_path, "cpu", torch.float32)
    small = loading.load(tmp_path, "cpu", torch.float32, quantise=quantise, offload=True)
    before, after = (each.encode_text([TEXT]).tensors for each in (exact, small))
    assert torch.equal(before["pooled"], after["pooled"])
    error = float((before["t5"] - after["t5"]).norm() / before["t5"].norm())
    assert 0 < error < near
    assert small.fingerprint != exact.fingerprint
