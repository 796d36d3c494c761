"""Where parts lie, and in which precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from imagic.backbones.autoencoder import Autoencoder
from imagic.backbones.placement import FLOAT32_PARAMETERS, Place, default_autocast, default_device, default_dtype
from tests.backbones.conftest import Family
from tests.backbones.test_families import TEXT
from tests.backbones.tiny import build_t5, build_vae

CPU = torch.device("cpu")


class Traveller(nn.Linear):
    """A layer that notes where it is sent. No accelerator is there to follow it to."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.seen: list[str] = []

    def to(self, where: Any, *_: Any) -> Traveller:  # type: ignore[override]
        self.seen.append(str(where))
        return self


def test_a_part_waits_on_the_cpu_only_where_it_is_offloaded() -> None:
    for offload, stays, journey in (
        (True, False, ["cpu", "cuda", "cpu"]),
        (True, True, ["cuda"]),
        (False, False, ["cuda"]),
    ):
        part, place = Traveller(), Place(torch.device("cuda"), torch.bfloat16, offload)
        place.settle(part, stays=stays)
        assert part.weight.dtype == torch.bfloat16
        assert not part.weight.requires_grad
        if not stays:
            with place.using(part):
                pass
        assert part.seen == journey


def test_a_part_goes_back_when_its_use_fails() -> None:
    part, place = Traveller(), Place(torch.device("cuda"), torch.float32, offload=True)
    with pytest.raises(RuntimeError, match="stop"), place.using(part):
        raise RuntimeError("stop")
    assert part.seen == ["cuda", "cpu"]


def test_a_quantised_part_stays_as_it_was_loaded() -> None:
    part, place = Traveller(), Place(torch.device("cuda"), torch.float16, offload=True)
    part.hf_quantizer = object()  # type: ignore[assignment]
    place.settle(part)
    with place.using(part):
        pass
    assert part.seen == []
    assert part.weight.dtype == torch.float32


def test_offloaded_models_work_as_others(family: Family) -> None:
    plain, offloaded = family.backbone(), family.backbone(offload=True)
    image = torch.linspace(-1, 1, 768).reshape(1, 3, 16, 16)
    texts = [each.encode_text([TEXT]).tensors for each in (plain, offloaded)]
    assert all(torch.equal(texts[0][name], texts[1][name]) for name in texts[0])
    latents = [each.encode(image) for each in (plain, offloaded)]
    assert torch.equal(*latents)
    assert torch.equal(plain.decode(latents[0]), offloaded.decode(latents[0]))


@pytest.mark.parametrize(
    ("parameters", "device", "expected"),
    [
        (FLOAT32_PARAMETERS, "cuda", torch.float32),
        (FLOAT32_PARAMETERS + 1, "cuda", torch.bfloat16),
        (FLOAT32_PARAMETERS + 1, "mps", torch.bfloat16),
        (FLOAT32_PARAMETERS + 1, "cpu", torch.float32),
    ],
)
def test_large_networks_are_bfloat16_on_an_accelerator(parameters: int, device: str, expected: torch.dtype) -> None:
    network = nn.Linear(1, parameters, bias=False, device="meta")
    assert default_dtype(network, torch.device(device)) == expected


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [("cpu", True, torch.bfloat16), ("cpu", False, None), ("cuda", True, None), ("mps", True, None)],
)
def test_cpus_with_the_instructions_for_it_fit_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, device: str, native: bool, expected: torch.dtype | None
) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert default_autocast(torch.device(device)) == expected


def test_the_accelerator_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in ("cuda", "xpu", "mps"):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda found=found: torch.device(found))
        assert default_device() == torch.device(found)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert default_device() == CPU


def test_layers_that_overflow_in_half_precision_stay_float32() -> None:
    for dtype, kept in ((torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16)):
        t5 = build_t5(16)
        before = {name: p.clone() for name, p in t5.named_parameters()}
        Place(CPU, dtype).settle(t5)
        for name, p in t5.named_parameters():
            assert p.dtype == (kept if ".wo." in name else dtype), name
            assert torch.equal(p, before[name].to(p.dtype))


@pytest.mark.parametrize("forced", [True, False])
def test_an_autoencoder_that_overflows_stays_float32(forced: bool) -> None:
    vae: AutoencoderKL = build_vae(force_upcast=forced)
    pictures = Autoencoder(vae, Place(CPU, torch.float16))
    assert vae.dtype == (torch.float32 if forced else torch.float16)
    assert pictures.encode(torch.zeros(1, 3, 16, 16)).dtype == torch.float32
    Autoencoder(vae, Place(CPU, torch.bfloat16))
    assert vae.dtype == torch.bfloat16


def test_latents_may_have_a_mean_and_a_scale_for_each_channel() -> None:
    mean, std = [0.1, -0.2, 0.3, 0.0], [0.5, 1.0, 2.0, 4.0]
    vae = build_vae(shift_factor=None, latents_mean=mean, latents_std=std)
    pictures, image = Autoencoder(vae, Place(CPU, torch.float32)), torch.linspace(-1, 1, 768).reshape(1, 3, 16, 16)
    with torch.no_grad():
        raw = vae.encode(image).latent_dist.mode()
        decoded = vae.decode(raw).sample.clamp(-1, 1)
    z = pictures.encode(image)
    for channel in range(4):
        assert torch.allclose(z[:, channel], (raw[:, channel] - mean[channel]) * 0.7 / std[channel], atol=1e-6)
    assert torch.allclose(pictures.decode(z), decoded, atol=1e-5)
