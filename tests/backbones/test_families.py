"""SDXL, SD3, Flux, Z-Image and IF against diffusers' own pipelines, and what holds for all, on tiny random models."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusion3Pipeline,
    ZImagePipeline,
)

from imagic.backbones import flux, loading, z_image
from imagic.backbones import stable_diffusion_3 as sd3
from imagic.backbones.deepfloyd import DeepFloydBackbone
from imagic.core import seeds
from imagic.core.conditioning import GUIDANCE
from imagic.core.errors import ModelError, OptionError
from imagic.core.losses import denoising_loss, fixed_pairs
from imagic.core.noise import Prediction
from imagic.core.recomputing import kept_bytes
from imagic.core.sampling import sample
from imagic.core.types import Ability, Backbone, TuningPlan
from tests.backbones import tiny
from tests.backbones.conftest import Family
from tests.conftest import TEXT_LENGTH

T = TypeVar("T")
VP = ("sdxl", "if")  # the others are models of flow
TEXT, OTHER = "a photo of a sitting dog", "a cat"


def run(steps: Generator[Any, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def final(family: Family, backbone: Any, scale: float) -> torch.Tensor:
    z = seeds.initial_noise(family.shape, [3, 4])
    text, null = backbone.encode_text([TEXT, OTHER]), backbone.encode_text([""])
    return run(sample(backbone, z, backbone.schedule(10), text, null, scale))


def test_it_keeps_the_contract(family: Family) -> None:
    pipeline = family.build()
    backbone = family.backbone(pipeline)
    assert isinstance(backbone, Backbone)
    assert (backbone.image_size, backbone.size_multiple) == (16, family.multiple)
    assert len(backbone.levels) == 1000
    assert backbone.upper_stages() == ()
    assert {Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION} <= backbone.abilities
    assert (Ability.CROSS_ATTENTION in backbone.abilities) == (family.name == "sdxl")
    for part in pipeline.components.values():
        assert not isinstance(part, torch.nn.Module) or not any(p.requires_grad for p in part.parameters())


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_a_guided_result_equals_the_pipeline(family: Family, scale: float) -> None:
    if scale == 1 and "true_cfg_scale" in family.call:
        family = dataclasses.replace(family, call={})
    pipeline = family.build()
    z = seeds.initial_noise(family.shape, [3, 4])
    expected = family.run(pipeline, [TEXT, OTHER], z, scale, "latent")
    images = family.run(pipeline, [TEXT, OTHER], z, scale, "pt")
    backbone = family.backbone(pipeline)
    result = final(family, backbone, scale)
    # IF's noisiest levels divide by a small alpha: in float64 its pipeline gives numbers 2e-3 away from either.
    tolerance = 1e-3 if family.name == "if" else 1e-4
    assert torch.allclose(result, expected, rtol=1e-3, atol=tolerance * float(expected.abs().max()))
    assert torch.allclose(backbone.decode(result) / 2 + 0.5, images, atol=tolerance)


@pytest.mark.parametrize("size", [(8, 8), (4, 8)])
def test_one_prediction_equals_the_network(family: Family, size: tuple[int, int]) -> None:
    """Also for a picture that is no square: its size is told, and its patches keep their places."""
    pipeline = family.build()
    z, timestep = seeds.initial_noise((family.shape[0], *size), [3, 4]), torch.tensor([700.0, 20.0])
    expected = family.raw(pipeline, z, timestep, [TEXT, OTHER])
    backbone = family.backbone(pipeline)
    with torch.no_grad():
        output = backbone.predict(z, timestep, backbone.encode_text([TEXT, OTHER]))
    assert output.shape == z.shape
    # Z-Image's tokens are normed twice, which rounds once more.
    assert torch.allclose(output, expected, atol=5e-6 if family.name == "z-image" else 1e-6)


def test_rows_do_not_touch_each_other(family: Family) -> None:
    backbone = family.backbone()
    text = backbone.encode_text([TEXT, OTHER, ""])
    z, timestep = seeds.initial_noise(family.shape, [0, 1, 2]), torch.tensor([10.0, 500.0, 900.0])
    with torch.no_grad():
        together = backbone.predict(z, timestep, text)
        for i in range(3):
            alone = backbone.predict(z[i : i + 1], timestep[i : i + 1], text[i : i + 1])
            assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


def test_encoding_is_the_scaled_and_shifted_posterior_mean(family: Family) -> None:
    pipeline = family.build()
    backbone = family.backbone(pipeline)
    image = torch.rand(2, 3, 16, 16, generator=seeds.generator(0)) * 2 - 1
    z = backbone.encode(image)
    if family.kind is DeepFloydBackbone:  # there is no autoencoder: pictures are their own latents
        assert torch.equal(z, image)
        assert torch.equal(backbone.decode(2 * z), (2 * z).clamp(-1, 1))
        return
    with torch.no_grad():
        mean = pipeline.vae.encode(image).latent_dist.mode()
        expected = pipeline.vae.decode(mean).sample.clamp(-1, 1)
    shift = 0.0 if family.name == "sdxl" else 0.1  # of the tiny autoencoders
    assert torch.allclose(z, (mean - shift) * 0.7, atol=1e-6)
    assert torch.allclose(backbone.decode(z), expected, atol=1e-5)


def test_the_tuning_loss_is_that_of_diffusers_training_scripts(family: Family) -> None:
    """SDXL and IF: the noise, at a timestep of DDPM, without IF's variance. Flow: noise minus image at sigma, looked up
    in the scheduler by timestep, with Flux's guidance input at 1."""
    pipeline = family.build()
    backbone = family.backbone(pipeline)
    z0 = 0.5 * seeds.initial_noise(family.shape, [7])
    pairs = fixed_pairs(4, backbone.levels, family.shape, seed=5)
    with torch.no_grad():
        loss = denoising_loss(backbone, z0, pairs, backbone.encode_text([TEXT]))
    z0, eps = z0.expand(4, *family.shape), pairs.eps
    if family.name in VP:
        assert backbone.prediction is Prediction.EPS
        timesteps = pairs.index
        noisy, target = DDPMScheduler.from_config(pipeline.scheduler.config).add_noise(z0, eps, timesteps), eps
    else:
        assert backbone.prediction is Prediction.FLOW
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
        timesteps = scheduler.timesteps[999 - pairs.index]  # the scheduler counts from noise to image
        places = [(scheduler.timesteps == t).nonzero().item() for t in timesteps]
        sigmas = scheduler.sigmas[places].reshape(-1, 1, 1, 1)
        noisy, target = (1.0 - sigmas) * z0 + sigmas * eps, eps - z0
    output = family.raw(pipeline, noisy, timesteps, [TEXT] * 4)
    expected = (output - target).square().mean((1, 2, 3))
    assert torch.allclose(loss, expected, rtol=1e-4)
    if family.name.startswith("sd3"):
        # With the scripts' preconditioned outputs, their default, the image is compared.
        preconditioned = (noisy - sigmas * output - z0).square().mean((1, 2, 3))
        assert torch.allclose(sigmas.flatten() ** 2 * loss, preconditioned, rtol=1e-3)


def test_levels_are_those_of_the_scheduler(family: Family) -> None:
    pipeline = family.build()
    backbone = family.backbone(pipeline)
    alpha, sigma, timestep = backbone.levels.alpha, backbone.levels.sigma, backbone.levels.timestep
    if family.name in VP:
        assert torch.allclose(alpha**2, pipeline.scheduler.alphas_cumprod.double(), atol=1e-7)
        assert torch.allclose(alpha**2 + sigma**2, torch.ones(1000).double())
        assert torch.equal(timestep, torch.arange(1000))
    else:
        t = torch.arange(1, 1001, dtype=torch.float64) / 1000
        if not family.name.startswith("flux"):
            t = 3 * t / (1 + 2 * t)  # the fixture's shift
        assert torch.allclose(sigma, t, atol=1e-6)
        assert torch.allclose(timestep.double(), 1000 * t, atol=1e-3)
        assert torch.allclose(alpha + sigma, torch.ones(1000).double())
        assert (sigma.diff() > 0).all()
    assert (backbone.levels.density is not None) == family.name.startswith("sd3")


@pytest.mark.parametrize("num_steps", [1, 7, 50])
def test_grids_are_those_of_the_scheduler(family: Family, num_steps: int) -> None:
    pipeline = family.build()
    schedule = family.backbone(pipeline).schedule(num_steps)
    assert len(schedule) == num_steps + 1
    assert (schedule.sigma.diff() < 0).all()
    if family.name not in VP:
        # The pipelines' own ways to a grid; mu for the fixture's 16 patches, between 4 (0.5) and 64 (1.15).
        even = family.name.startswith(("flux", "z-image"))
        own = {"sigmas": torch.linspace(1, 1 / num_steps, num_steps).numpy()} if even else {}
        mu = 0.5 + (16 - 4) / (64 - 4) * (1.15 - 0.5) if family.name.startswith("flux") else None
        pipeline.scheduler.set_timesteps(num_steps, mu=mu, **own)
        assert torch.allclose(schedule.sigma.float(), pipeline.scheduler.sigmas, atol=1e-6)
        assert torch.allclose(schedule.timestep[:-1].float(), pipeline.scheduler.timesteps, atol=1e-3)
        assert torch.equal(schedule.alpha, 1 - schedule.sigma)


@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_impossible_grids_are_refused(family: Family, num_steps: int) -> None:
    with pytest.raises(OptionError, match="between 1 and 1000"):
        family.backbone().schedule(num_steps)


def test_gradients_reach_every_learnable_tensor_and_no_weight(family: Family) -> None:
    backbone = family.backbone()
    leaf = backbone.encode_text([TEXT]).trainable()
    pairs = fixed_pairs(3, backbone.levels, family.shape)
    denoising_loss(backbone, seeds.initial_noise(family.shape, [1]), pairs, leaf).mean().backward()
    for name, tensor in leaf.parameters().items():
        assert tensor.grad is not None, name
        # Not a number of it is without effect: no padding takes part.
        assert (tensor.grad.abs() > 0).float().mean() > 0.9, name
    assert all(p.grad is None for p in backbone.network.parameters())


def test_the_bundle_ends_at_both_texts_in_every_tensor(family: Family) -> None:
    backbone = family.backbone()
    first, second = backbone.encode_text([TEXT]), backbone.encode_text([OTHER])
    assert first.learnable == first.tensors.keys() - {GUIDANCE}
    first, second = first.matched(second, 1)  # as long as each other, for Z-Image
    for eta, end in ((0.0, first), (1.0, second)):
        mixed = first.lerp(second, eta)
        assert all(torch.equal(mixed.tensors[name], end.tensors[name]) for name in end.tensors)
    for name in first.learnable:
        middle = first.lerp(second, 0.5).tensors[name]
        assert not torch.equal(first.tensors[name], second.tensors[name])
        assert torch.allclose(middle, (first.tensors[name] + second.tensors[name]) / 2, atol=1e-6)


def test_guidance_is_an_input_of_a_distilled_model_alone(family: Family) -> None:
    pipeline = family.build()
    backbone = family.backbone(pipeline)
    text = backbone.encode_text([TEXT, ""])
    assert (GUIDANCE in text.tensors) == family.distilled
    if family.distilled:
        assert torch.equal(text.tensors[GUIDANCE], torch.ones(2))
        z, timestep = seeds.initial_noise(family.shape, [3]), torch.tensor([500.0])
        expected = family.raw(pipeline, z, timestep, [TEXT], guidance=3.5)
        with torch.no_grad():
            assert torch.allclose(
                backbone.predict(z, timestep, text[:1].guided(torch.tensor([3.5]))), expected, atol=1e-6
            )


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tuning_changes_the_network_and_gives_it_back(family: Family, kind: str, dtype: torch.dtype) -> None:
    backbone = family.backbone(dtype=dtype)
    before = {name: p.clone() for name, p in backbone.network.named_parameters()}
    text, z0 = backbone.encode_text([TEXT]), seeds.initial_noise(family.shape, [1])
    pairs = fixed_pairs(3, backbone.levels, family.shape)
    with backbone.tuning(TuningPlan(kind=kind, rank=2, alpha=2.0)) as tuning:
        optimizer = torch.optim.Adam(tuning.parameters.values(), lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            loss = denoising_loss(backbone, z0, pairs, text).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            tuned = backbone.predict(z0, torch.tensor([500.0]), text)
        change = tuning.change()
    assert all(p.dtype == torch.float32 for p in tuning.parameters.values())
    after = dict(backbone.network.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and not after[name].requires_grad for name in after)
    with torch.no_grad():
        original = backbone.predict(z0, torch.tensor([500.0]), text)
        with backbone.changed(change):
            applied = backbone.predict(z0, torch.tensor([500.0]), text)
    # In bfloat16 a change of 1e-3 is mostly rounded away when it is added to the weights.
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    assert torch.allclose(applied, tuned, atol=tolerance * float(tuned.abs().max()))
    assert not torch.equal(applied, original)


def test_lora_reaches_the_attention_to_image_and_text(family: Family) -> None:
    with family.backbone().tuning(TuningPlan(kind="lora", rank=1)) as tuning:
        names = set(tuning.parameters)
    projections = {"to_q", "to_k", "to_v", "to_out.0"}
    if family.name == "if":
        projections |= {"add_k_proj", "add_v_proj"}
    elif family.name not in ("sdxl", "z-image"):
        projections |= {"add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"}
    for projection in projections:
        assert any(f".{projection}.lora_A" in name for name in names), projection


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near_float32(family: Family, dtype: torch.dtype) -> None:
    exact, half = family.backbone(), family.backbone(dtype=dtype)
    z, timestep = seeds.initial_noise(family.shape, [0]), torch.tensor([500.0])
    with torch.no_grad():
        outputs = [backbone.predict(z, timestep, backbone.encode_text([TEXT])) for backbone in (exact, half)]
    assert outputs[1].dtype == torch.float32
    assert not torch.equal(*outputs)
    assert torch.allclose(*outputs, atol=0.1 * float(outputs[0].abs().max()))
    assert half.network.dtype == half.dtype == dtype


@pytest.mark.parametrize(
    ("pipeline", "length"),
    [
        (StableDiffusion3Pipeline, sd3.T5_LENGTH),
        (FluxPipeline, flux.T5_LENGTH),
        (ZImagePipeline, z_image.TEXT_LENGTH),
    ],
)
def test_a_language_model_reads_as_much_as_the_pipeline_gives_it(pipeline: Any, length: int) -> None:
    assert inspect.signature(pipeline.__call__).parameters["max_sequence_length"].default == length


def test_the_side_of_flux_is_the_pipelines() -> None:
    pipeline = tiny.build_flux()
    assert FluxPipeline(**pipeline.components).default_sample_size == flux.SIDE
    parts = {part: getattr(pipeline, part) for part in flux.LAYOUT.classes}
    assert flux.FluxBackbone("tiny", **parts).image_size == 2 * flux.SIDE


def test_a_folder_gives_the_same_model(family: Family, tmp_path: Path) -> None:
    pipeline = family.build()
    pipeline.save_pretrained(tmp_path)
    loaded, backbone = loading.load(tmp_path, "cpu"), family.backbone(pipeline)
    assert type(loaded) is family.kind
    assert loaded.fingerprint == backbone.fingerprint
    z, timestep = seeds.initial_noise(family.shape, [0]), torch.tensor([500.0])
    with torch.no_grad():
        outputs = [each.predict(z, timestep, each.encode_text([TEXT])) for each in (loaded, backbone)]
    assert torch.allclose(*outputs, atol=1e-5)  # memory-mapped weights lie otherwise, and round otherwise


def test_the_fingerprint_sees_every_part(family: Family) -> None:
    original = family.backbone().fingerprint
    assert family.backbone(dtype=torch.bfloat16).fingerprint == original
    for name, part in family.build().components.items():
        if isinstance(part, torch.nn.Module):
            changed = family.build()
            with torch.no_grad():
                next(getattr(changed, name).parameters()).view(-1)[0] += 1e-2
            assert family.backbone(changed).fingerprint != original, name
    assert family.backbone(family.build(num_train_timesteps=500)).fingerprint != original


def test_other_kinds_of_model_are_refused(family: Family) -> None:
    pipeline = family.build()
    network = family.network(pipeline)
    network.register_to_config(in_channels=network.config["in_channels"] + 5)
    with pytest.raises(ModelError, match=r"not a text-to-image model: its network takes \d+ channels"):
        family.backbone(pipeline)


def test_a_text_is_cut_where_the_last_encoder_ends(family: Family) -> None:
    backbone = family.backbone()
    room = family.t5_length - 1 if family.t5_length else TEXT_LENGTH - 2  # T5 has one mark, CLIP two
    if family.name == "z-image":
        room = z_image.TEXT_LENGTH - 6 - 2  # six tokens of the template, and a first "the" of three
    assert backbone.report_text("the " * (room - 1) + "dog").cut == ""
    assert backbone.report_text("the " * room + "dog").cut == "dog"


def test_gradients_that_are_computed_again_are_the_same(family: Family) -> None:
    backbone = family.backbone(family.build())
    z = seeds.initial_noise(family.shape, [3])
    pairs = fixed_pairs(2, backbone.levels, family.shape)

    def gradients() -> tuple[int, list[torch.Tensor]]:
        text = backbone.encode_text([TEXT]).trainable()
        with backbone.tuning(TuningPlan()) as tuning:
            parameters = [*text.parameters().values(), *tuning.parameters.values()]
            kept = kept_bytes(lambda: denoising_loss(backbone, z, pairs, text).mean())
            loss = denoising_loss(backbone, z, pairs, text).mean()
            found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            return kept, list(found)

    kept, expected = gradients()
    with backbone.recomputing():
        less, found = gradients()
    assert less < 0.8 * kept
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert gradients()[0] == kept  # as before
