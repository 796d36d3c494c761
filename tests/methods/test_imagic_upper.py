"""Imagic and others on a cascade: the tuning of its first upper stage against a plain loop, and painted results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import imagic
from imagic import api
from imagic.backbones.deepfloyd import DeepFloydBackbone
from imagic.core import seeds
from imagic.core.errors import StateError
from imagic.core.losses import fixed_pairs, stratified_pairs
from imagic.core.types import FitRequest, State
from imagic.methods._imagic_fit import SD1_PARAMETERS
from imagic.methods.diffedit import DiffEdit
from imagic.methods.imagic import Imagic
from imagic.methods.sdedit import SDEdit
from tests.backbones import tiny
from tests.methods.conftest import assert_untouched, snapshot
from tests.methods.running import edit, fit, fit_and_edit

TEXT, SOURCE = "a photo of a sitting dog", "a photo of a standing dog"
FIT: dict[str, Any] = {
    "embedding_steps": 1,
    "embedding_lr": 0.5,
    "embedding_pairs": 1,
    "network_steps": 1,
    "network_pairs": 2,
    "network_lr": 1e-6,
    "measured_pairs": 2,
    "cooldown": 0.0,
    "upper_steps": 3,
}


@pytest.fixture
def backbone() -> DeepFloydBackbone:
    """8 px, enlarged to 16 in two steps, then to 32."""
    made = DeepFloydBackbone.from_pipeline(
        tiny.build_if(8), name="tiny", upper=[tiny.build_if_upper(16), tiny.build_if_upper(32)]
    )
    for stage in made.upper_stages():
        stage.num_steps = 2
    return made


@pytest.fixture
def request_to_sit() -> FitRequest:
    image = torch.rand(1, 3, 32, 32, generator=seeds.generator(3)) * 2 - 1
    return FitRequest(image=image, target_text=TEXT, seed=5)


def by_hand(request: FitRequest, text: str) -> tuple[dict[str, torch.Tensor], list[float]]:
    """What three Adam updates change in the first upper stage's UNet, and the loss on the fixed pairs around them."""
    base, upper = tiny.build_if(8), tiny.build_if_upper(16)
    unet, kept = upper.unet, upper.scheduler.alphas_cumprod
    before = {name: p.clone() for name, p in unet.named_parameters()}
    picture, smaller = F.avg_pool2d(request.image, 2), F.avg_pool2d(request.image, 4)
    enlarged = F.interpolate(smaller, (16, 16), mode="bilinear", align_corners=True).expand(2, -1, -1, -1)
    with torch.no_grad():
        sequence, _ = base.encode_prompt([text] * 2, False)

    def loss(pairs: Any) -> torch.Tensor:
        eps, noise = pairs.eps[:, :3], pairs.eps[:, 3:]
        alpha = kept[pairs.index].reshape(-1, 1, 1, 1)
        noisy = alpha.sqrt() * picture + (1 - alpha).sqrt() * eps
        level = torch.full([2], 250)
        seen = upper.image_noising_scheduler.add_noise(enlarged, noise, level)
        output = unet(torch.cat([noisy, seen], 1), pairs.index, sequence, class_labels=level).sample
        return F.mse_loss(output.chunk(2, dim=1)[0], eps)

    from imagic.backbones.vp import VPGrid

    levels, shape = VPGrid("if", upper.scheduler).levels, (6, 16, 16)
    fixed = fixed_pairs(2, levels, shape)
    count = sum(p.numel() for p in unet.parameters())
    optimizer = torch.optim.Adam(unet.parameters(), lr=FIT["network_lr"] * (SD1_PARAMETERS / count) ** 0.5)
    generator = seeds.generator(seeds.derive(5, "imagic-upper"))
    with torch.no_grad():
        losses = [float(loss(fixed))]
    for _ in range(3):
        optimizer.zero_grad()
        loss(stratified_pairs(2, levels, shape, generator)).backward()
        optimizer.step()
    with torch.no_grad():
        losses.append(float(loss(fixed)))
    return {name: (p - before[name]).detach() for name, p in unet.named_parameters()}, losses


@pytest.mark.parametrize("source", ["", SOURCE])
def test_the_first_upper_stage_is_tuned_under_the_given_text(
    backbone: DeepFloydBackbone, request_to_sit: FitRequest, source: str
) -> None:
    """Not under e_opt: what it is given is the text as it was encoded."""
    networks = [backbone.network, *(stage.network for stage in backbone.upper_stages())]  # type: ignore[attr-defined]
    before = [snapshot(network) for network in networks]
    request = FitRequest(request_to_sit.image, TEXT, source, seed=5)
    state = fit(Imagic(), backbone, request, **FIT)
    expected, losses = by_hand(request, source or TEXT)
    found = {name: t for name, t in state.tensors.items() if name.startswith("upper.")}
    assert found.keys() == {f"upper.{name}" for name in expected}
    ours, change = (
        torch.cat([tensors[name].flatten().float() for name in sorted(tensors)])
        for tensors in (found, {f"upper.{name}": each for name, each in expected.items()})
    )
    # Adam's first steps are of one size whatever the gradient: where that is nearly zero, rounding decides.
    assert ((ours - change).abs() < 0.02 * change.abs().max()).float().mean() > 0.95
    curve = state.facts["losses"]["upper"]
    assert [point[0] for point in curve] == [0, 3]
    assert [point[1] for point in curve] == pytest.approx(losses, rel=1e-3)
    assert curve[1][1] < curve[0][1]
    for network, weights in zip(networks, before, strict=True):
        assert_untouched(network, weights)


def test_the_stage_may_stay_as_it_is(backbone: DeepFloydBackbone, request_to_sit: FitRequest) -> None:
    tuned = fit(Imagic(), backbone, request_to_sit, **FIT)
    plain = fit(Imagic(), backbone, request_to_sit, **{**FIT, "upper_steps": 0})
    assert plain.facts["upper"] is None
    assert not any(name.startswith("upper.") for name in plain.tensors)
    assert plain.tensors.keys() == {name for name in tuned.tensors if not name.startswith("upper.")}
    assert all(torch.equal(each, tuned.tensors[name]) for name, each in plain.tensors.items())


def test_results_and_their_reference_are_painted_by_the_tuned_stage(
    backbone: DeepFloydBackbone, request_to_sit: FitRequest
) -> None:
    values = {**FIT, "upper_steps": 10, "network_lr": 1e-4}
    tuned = fit(Imagic(), backbone, request_to_sit, **values)
    untuned = State(tuned.method, tuned.tensors, {**tuned.facts, "upper": None})
    asked = {"etas": (0.0, 1.0), "num_steps": 2}
    with_tuning, without = (edit(Imagic(), backbone, state, (4,), **asked) for state in (tuned, untuned))
    for result in (with_tuning, without):
        assert [candidate.image.shape for candidate in result.chosen] == [(3, 32, 32)] * 2
        # The reference is the picture at eta 0, painted from the same noise.
        assert torch.equal(result.reconstruction, result.chosen[0].image)
        assert not torch.equal(result.chosen[0].image, result.chosen[1].image)
        # An enlarged picture has no details: squares of 4 would be smooth.
        assert float((result.chosen[0].image - enlarged(backbone, result.chosen[0].image)).abs().mean()) > 0.02
    assert not torch.allclose(with_tuning.chosen[0].image, without.chosen[0].image, atol=1e-2)
    again = edit(Imagic(), backbone, tuned, (4,), **asked)
    assert torch.equal(again.chosen[1].image, with_tuning.chosen[1].image)
    trip = edit(Imagic(), backbone, tuned, (4,), **asked, reference="round-trip")
    assert torch.equal(trip.chosen[0].image, with_tuning.chosen[0].image)
    assert not torch.equal(trip.reconstruction, trip.chosen[0].image)
    damaged = State(tuned.method, tuned.tensors, {**tuned.facts, "upper": {"kind": "full"}})
    with pytest.raises(StateError, match="damaged"):
        edit(Imagic(), backbone, damaged, (4,), **asked)


def enlarged(backbone: DeepFloydBackbone, image: torch.Tensor) -> torch.Tensor:
    return backbone.decode(backbone.encode(image[None]))[0]


@pytest.mark.parametrize(
    ("method", "fit_values", "values"),
    [(SDEdit(), {}, {"num_steps": 4}), (DiffEdit(), {"num_steps": 4}, {"mask_noises": 2})],
    ids=["sdedit", "diffedit"],
)
def test_other_methods_work_on_the_base_and_are_painted(
    backbone: DeepFloydBackbone,
    request_to_sit: FitRequest,
    method: Any,
    fit_values: dict[str, Any],
    values: dict[str, Any],
) -> None:
    nothing, much = (
        fit_and_edit(method, backbone, request_to_sit, (4,), fit_values=fit_values, strength=strength, **values)
        for strength in (0.0, 1.0)
    )
    # At strength 0 result and reference are one picture, so that laying the change over the input changes nothing.
    assert torch.equal(nothing.chosen[0].image, nothing.reconstruction)
    assert nothing.chosen[0].image.shape == (3, 32, 32)
    assert torch.equal(much.reconstruction, nothing.reconstruction)
    assert not torch.equal(much.chosen[0].image, much.reconstruction)


def test_a_saved_fit_of_a_cascade_is_edited_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: DeepFloydBackbone
) -> None:
    folders = [tmp_path / name for name in ("base", "upper", "top")]
    for folder, pipeline in zip(
        folders, (tiny.build_if(8), tiny.build_if_upper(16), tiny.build_if_upper(32)), strict=True
    ):
        pipeline.save_pretrained(folder)
    model = "+".join(str(folder) for folder in folders)
    pixels = np.random.default_rng(2).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    made = imagic.fit(pixels, TEXT, model=model, options={**FIT, "tuning": "lora", "lora_lr": 0.1, "rank": 2})
    assert made.record.model == "base+upper+top"
    for stage in made.backbone.upper_stages():
        stage.num_steps = 2
    made.save(tmp_path / "dog.safetensors")
    loaded = api.Fit.load(tmp_path / "dog.safetensors", pixels, backbone)
    images = [imagic.edit(each, eta=0.5, options={"num_steps": 2}).images[0] for each in (made, loaded)]
    assert np.array_equal(*(np.asarray(image) for image in images))
    assert images[0].size == (30, 40)
    paths = {path.name for path in api.export(made, tmp_path / "out", eta=0.5)}
    assert paths == {f"{name}.safetensors" for name in ("e_tgt", "e_opt", "e_eta", "start", "lora", "upper-lora")}
    upper = tiny.build_if_upper(16)
    upper.load_lora_weights(tmp_path / "out", weight_name="upper-lora.safetensors")
    factors = load_file(tmp_path / "out" / "upper-lora.safetensors")
    assert len(upper.unet.peft_config) == 1
    assert {name.removeprefix("unet.") for name in factors} == {
        name.removeprefix("upper.") for name in made.state.tensors if name.startswith("upper.")
    }
    paths = {path.relative_to(tmp_path / "full").parent for path in api.export(made, tmp_path / "full", full=True)}
    assert {str(path) for path in paths} == {".", "unet", "upper/unet"}
