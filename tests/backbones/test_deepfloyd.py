"""DeepFloyd IF's cascade against diffusers' own pipelines, on tiny random models: 8 px, then 16, then 32."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline

from imagic.backbones import deepfloyd_upper, loading
from imagic.backbones.deepfloyd import DeepFloydBackbone
from imagic.core import seeds
from imagic.core.cascade import paint, paint_each
from imagic.core.errors import ModelError
from imagic.core.losses import Pairs, denoising_loss
from imagic.core.noise import Bound
from imagic.core.types import Ability, TuningPlan, UpperStage, WeightChange
from tests.backbones import tiny
from tests.backbones.test_families import OTHER, TEXT, run
from tests.conftest import build_pipeline

SMALL, LARGE = (3, 8, 8), (3, 16, 16)


def cascade(*sides: int, **placement: Any) -> tuple[DeepFloydBackbone, IFPipeline, list[IFSuperResolutionPipeline]]:
    """A backbone over a base of 8 px and stages of these sides, and pipelines with the same weights."""
    base, upper = tiny.build_if(8), [tiny.build_if_upper(side) for side in sides]
    backbone = DeepFloydBackbone.from_pipeline(
        tiny.build_if(8), name="tiny", upper=[tiny.build_if_upper(side) for side in sides], **placement
    )
    return backbone, base, upper


def enlarged_by(pipeline: Any, base: Any, image: torch.Tensor, scale: float, seed: int) -> torch.Tensor:
    """The pipeline's picture of TEXT in ten steps, with the base's text encoder."""
    pipeline.set_progress_bar_config(disable=True)
    embeds, null = base.encode_prompt(TEXT, True)
    result = pipeline(
        prompt_embeds=embeds,
        negative_prompt_embeds=null,
        image=image,
        num_inference_steps=10,
        guidance_scale=scale,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    )
    picture: torch.Tensor = result.images
    return picture


def test_it_keeps_the_contract() -> None:
    backbone, _, _ = cascade(16, 32)
    first, second = backbone.upper_stages()
    assert isinstance(first, UpperStage)
    assert Ability.CASCADE in backbone.abilities
    assert (backbone.image_size, backbone.size_multiple) == (32, 8)
    assert (first.scale, second.scale) == (2, 2)
    assert (len(first.levels), first.image_size, second.image_size) == (1000, 32, 32)
    image = torch.rand(2, 3, 32, 64, generator=seeds.generator(0)) * 2 - 1
    assert [each.encode(image).shape[1:] for each in (backbone, first, second)] == [
        (3, 8, 16),
        (3, 16, 32),
        (3, 32, 64),
    ]
    assert first.report_text("dog %").unknown_words == ("%",)


def test_pictures_are_means_of_squares_and_come_back_smooth() -> None:
    backbone, _, _ = cascade(16, 32)
    image = torch.rand(1, 3, 32, 32, generator=seeds.generator(0)) * 2 - 1
    z = backbone.encode(image)
    for row, column in ((0, 0), (3, 5)):
        square = image[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.allclose(z[0, :, row, column], square.mean((1, 2)), atol=1e-6)
    flat = torch.full((1, 3, 8, 8), 0.25)
    assert torch.allclose(backbone.decode(flat), torch.full((1, 3, 32, 32), 0.25), atol=1e-6)
    assert backbone.decode(4 * z).abs().max() <= 1


def test_the_pipelines_own_numbers() -> None:
    defaults = inspect.signature(IFSuperResolutionPipeline.__call__).parameters
    for name, value in (
        ("num_inference_steps", deepfloyd_upper.NUM_STEPS),
        ("guidance_scale", deepfloyd_upper.GUIDANCE_SCALE),
        ("noise_level", deepfloyd_upper.NOISE_LEVEL),
    ):
        assert defaults[name].default == value
    assert cascade(16)[0].upper_stages()[0].num_steps == deepfloyd_upper.NUM_STEPS


def test_a_stages_prediction_equals_the_network() -> None:
    backbone, base, [upper] = cascade(16)
    [stage] = backbone.upper_stages()
    z, noise, small = (seeds.initial_noise(shape, [1, 2]) for shape in (LARGE, LARGE, SMALL))
    small = small.clamp(-1, 1)
    timestep = torch.tensor([700, 20])
    with torch.no_grad():
        sequence, _ = base.encode_prompt([TEXT, OTHER], False)
        size = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", align_corners=True)
        seen = upper.image_noising_scheduler.add_noise(size, noise, torch.tensor([250, 250]))
        inputs = torch.cat([z, seen], dim=1)
        expected = upper.unet(inputs, timestep, sequence, class_labels=torch.tensor([250, 250])).sample[:, :3]
        text = stage.encode_text([TEXT, OTHER])
        assert torch.allclose(stage.predict(z, timestep, stage.beside(text, small, noise)), expected, atol=1e-5)
    assert stage.beside(text, small, noise).learnable == text.learnable


# Under guidance a random network makes much of little: what rounding leaves after two stages says nothing.
@pytest.mark.parametrize(("sides", "scale"), [((16,), 4.0), ((16, 32), 1.0)])
def test_painting_equals_the_pipelines(sides: tuple[int, ...], scale: float) -> None:
    backbone, base, uppers = cascade(*sides)
    picture = z = seeds.initial_noise(SMALL, [5])
    for stage in backbone.upper_stages():
        stage.num_steps, stage.guidance_scale = 10, scale
    for number, pipeline in enumerate(uppers):
        picture = enlarged_by(pipeline, base, picture.clamp(-1, 1), scale, seeds.derive(7, f"stage-{number}"))
    ours = run(paint(backbone, z, backbone.encode_text([TEXT]), 7))
    assert ours.shape == (1, 3, sides[-1], sides[-1])
    assert torch.allclose(ours, picture.clamp(-1, 1), atol=1e-3)
    other = run(paint(backbone, z, backbone.encode_text([OTHER]), 7))
    assert not torch.allclose(ours, other, atol=1e-2)


def test_without_upper_stages_a_picture_is_decoded() -> None:
    backbone, _, _ = cascade()
    z = seeds.initial_noise(SMALL, [5])
    assert torch.equal(run(paint(backbone, z, backbone.encode_text([TEXT]), 7)), z.clamp(-1, 1))
    assert backbone.image_size == 8


def test_each_picture_is_painted_from_its_own_seed_and_text() -> None:
    backbone, _, _ = cascade(16)
    (stage,) = backbone.upper_stages()
    stage.num_steps = 3
    z, texts = seeds.initial_noise(SMALL, [5, 6]), backbone.encode_text([TEXT, OTHER])
    found = run(paint_each(backbone, z, texts, [7, 8]))
    alone = [run(paint(backbone, z[row : row + 1], texts[row : row + 1], 7 + row)) for row in range(2)]
    assert torch.equal(found, torch.cat(alone))
    assert torch.equal(run(paint_each(backbone, z, texts[1:], [7, 8]))[1], found[1])
    assert torch.equal(run(paint_each(cascade()[0], z, texts, [7, 8])), cascade()[0].decode(z))


def test_painting_says_how_far_it_is_and_shows_it() -> None:
    backbone, _, _ = cascade(16)
    [stage] = backbone.upper_stages()
    stage.num_steps = 3
    seen = list(paint(backbone, seeds.initial_noise(SMALL, [5]), backbone.encode_text([TEXT]), 7))
    assert [(each.stage, each.step, each.total) for each in seen] == [("enlarge to 16", step, 3) for step in (1, 2, 3)]
    assert all(each.preview is not None and each.preview.shape == LARGE for each in seen)


def test_a_change_belongs_to_the_first_stage_and_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, _, _ = cascade(16, 32)
    stages = backbone.upper_stages()
    for each in stages:
        each.num_steps = 2
    z, text = seeds.initial_noise(SMALL, [5]), backbone.encode_text([TEXT])
    weights = [{n: p.clone() for n, p in each.network.named_parameters()} for each in stages]  # type: ignore[attr-defined]
    with stages[0].tuning(TuningPlan(kind="lora", rank=2, alpha=2.0)) as tuning:
        with torch.no_grad():
            for p in tuning.parameters.values():
                p += 0.5
        change = tuning.change()
    plain, changed = (run(paint(backbone, z, text, 7, each)) for each in (None, change))
    assert not torch.allclose(plain, changed, atol=1e-2)
    assert torch.equal(run(paint(backbone, z, text, 7)), plain)
    for before, stage in zip(weights, stages, strict=True):
        after = dict(stage.network.named_parameters())  # type: ignore[attr-defined]
        assert all(torch.equal(before[name], after[name]) for name in before)
    given: list[tuple[int, WeightChange | None]] = []
    for number, stage in enumerate(stages):
        monkeypatch.setattr(stage, "changed", lambda change, number=number: nullcontext(given.append((number, change))))
    run(paint(backbone, z, text, 7, change))
    assert given == [(0, change), (1, None)]


def test_the_tuning_loss_of_a_stage_is_the_training_formula() -> None:
    backbone, base, [upper] = cascade(16)
    [stage] = backbone.upper_stages()
    z0, small = 0.5 * seeds.initial_noise(LARGE, [1]), 0.5 * seeds.initial_noise(SMALL, [2])
    eps, noise = seeds.initial_noise(LARGE, [3, 4]), seeds.initial_noise(LARGE, [5, 6])
    index = torch.tensor([30, 800])
    with torch.no_grad():
        bundle = stage.beside(stage.encode_text([TEXT]), small, noise)
        loss = denoising_loss(stage, z0, Pairs(index, eps), bundle)
        noisy = DDPMScheduler.from_config(upper.scheduler.config).add_noise(z0.expand(2, *LARGE), eps, index)
        size = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", align_corners=True)
        seen = upper.image_noising_scheduler.add_noise(size.expand(2, *LARGE), noise, torch.tensor([250, 250]))
        sequence, _ = base.encode_prompt([TEXT] * 2, False)
        output = upper.unet(torch.cat([noisy, seen], 1), index, sequence, class_labels=torch.tensor([250, 250])).sample
        mean, _ = output.chunk(2, dim=1)
    assert torch.allclose(loss, (mean - eps).square().mean((1, 2, 3)), rtol=1e-4)


def test_each_stage_has_its_own_levels_and_bound() -> None:
    backbone, base, [upper] = cascade(16)
    assert backbone.schedule(5).bound == Bound(1.5, 0.95)
    assert backbone.upper_stages()[0].schedule(5).bound == Bound(1.0, 0.95)
    for each, pipeline in ((backbone, base), (backbone.upper_stages()[0], upper)):
        kept = pipeline.scheduler.alphas_cumprod.double()
        assert torch.allclose(each.levels.alpha**2, kept, atol=1e-7)
        assert torch.allclose(each.levels.sigma**2, 1 - kept, atol=1e-7)


def test_the_fingerprint_sees_every_stage() -> None:
    original = cascade(16, 32)[0].fingerprint
    assert cascade(16, 32, dtype=torch.bfloat16)[0].fingerprint == original
    assert len({original, cascade(16)[0].fingerprint, cascade()[0].fingerprint}) == 3
    uppers = [tiny.build_if_upper(side) for side in (16, 32)]
    with torch.no_grad():
        next(uppers[1].unet.parameters()).view(-1)[0] += 1e-2
    assert DeepFloydBackbone.from_pipeline(tiny.build_if(8), name="tiny", upper=uppers).fingerprint != original
    noisier = tiny.build_if_upper(16, image_noising_scheduler=DDPMScheduler(beta_schedule="linear"))
    assert (
        DeepFloydBackbone.from_pipeline(tiny.build_if(8), name="tiny", upper=[noisier]).fingerprint
        != cascade(16)[0].fingerprint
    )


def test_networks_for_other_things_are_no_upper_stage() -> None:
    with pytest.raises(ModelError, match="takes 3 channels"):
        DeepFloydBackbone.from_pipeline(
            tiny.build_if(8), name="tiny", upper=[tiny.build_if_upper(16, unet=tiny.build_if_unet(16))]
        )


def test_stages_are_named_with_a_plus(tmp_path: Path) -> None:
    backbone, base, uppers = cascade(16, 32)
    names = [tmp_path / name for name in ("base", "upper", "top")]
    for pipeline, folder in zip([base, *uppers], names, strict=True):
        pipeline.save_pretrained(folder)
    loaded = loading.load("+".join(str(name) for name in names), "cpu")
    assert isinstance(loaded, DeepFloydBackbone)
    assert loaded.fingerprint == backbone.fingerprint
    assert loading.load(names[0], "cpu").upper_stages() == ()
    with pytest.raises(ModelError, match="IFPipeline is none"):
        loading.load(f"{names[0]}+{names[0]}", "cpu")
    with pytest.raises(ModelError, match="IFSuperResolutionPipeline are not supported"):
        loading.load(names[1], "cpu")
    build_pipeline().save_pretrained(tmp_path / "sd")
    with pytest.raises(ModelError, match="StableDiffusionPipeline have no upper stages"):
        loading.load(f"{tmp_path / 'sd'}+{names[1]}", "cpu")
    with pytest.raises(ModelError, match="There is no model"):
        loading.load(f"{names[0]}+", "cpu")


def test_an_upper_stage_of_the_hub_is_fetched_without_its_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base, [upper] = cascade(16)
    folders = dict(zip(loading.ALIASES["if-xl"].split("+"), (tmp_path / "base", tmp_path / "upper"), strict=True))
    for pipeline, folder in zip((base, upper), folders.values(), strict=True):
        pipeline.save_pretrained(folder)
    calls: dict[str, dict[str, Any]] = {}

    def fetched(model_id: str, check: Any, **keywords: Any) -> Path:
        check(folders[model_id])
        calls[model_id] = keywords
        return folders[model_id]

    monkeypatch.setattr(loading.hub, "fetch", fetched)
    assert loading.load("if-xl", "cpu").image_size == 16
    assert [call.get("without") for call in calls.values()] == [None, loading.SHARED]
