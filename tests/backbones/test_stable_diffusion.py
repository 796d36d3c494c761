"""The family's contract, against diffusers' own schedulers and pipeline on a tiny random model."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler
from safetensors.torch import load_file, save_file

from imagic.backbones import loading
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core import seeds
from imagic.core.conditioning import Conditioning
from imagic.core.errors import ModelError, OptionError
from imagic.core.losses import denoising_loss, fixed_pairs
from imagic.core.noise import Prediction
from imagic.core.sampling import sample
from imagic.core.types import Ability, Backbone
from tests.conftest import MakeBackbone, MakePipeline

T = TypeVar("T")
PROMPT = "a photo of a sitting dog"


def run(steps: Generator[Any, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def final(backbone: StableDiffusionBackbone, num_steps: int, sampler: str, scale: float = 1.0) -> torch.Tensor:
    z = seeds.initial_noise((4, 8, 8), [3, 4])
    text, null = backbone.encode_text([PROMPT]), backbone.encode_text([""])
    return run(sample(backbone, z, backbone.schedule(num_steps), text, null, scale, sampler))


def test_it_keeps_the_contract(tiny_backbone: StableDiffusionBackbone) -> None:
    assert isinstance(tiny_backbone, Backbone)
    assert tiny_backbone.image_size == 16
    assert tiny_backbone.size_multiple == 4
    assert len(tiny_backbone.levels) == 1000
    assert tiny_backbone.upper_stages() == ()
    assert {Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE} <= tiny_backbone.abilities
    assert not any(p.requires_grad for m in (tiny_backbone.unet, tiny_backbone.vae) for p in m.parameters())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_a_guided_result_equals_the_pipeline(make_pipeline: MakePipeline, prediction: str, scale: float) -> None:
    pipeline = make_pipeline(prediction_type=prediction)
    pipeline.set_progress_bar_config(disable=True)
    z = seeds.initial_noise((4, 8, 8), [3, 4])
    expected = pipeline(
        [PROMPT] * 2, latents=z, num_inference_steps=10, guidance_scale=scale, output_type="latent"
    ).images
    images = pipeline([PROMPT] * 2, latents=z, num_inference_steps=10, guidance_scale=scale, output_type="pt").images
    backbone = StableDiffusionBackbone.from_pipeline(pipeline, name="tiny")
    result = final(backbone, 10, "ddim", scale)
    assert torch.allclose(result, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    # The tiny VAE differs from the pipeline's decoding by a shift, which the pipeline leaves out.
    shifted = backbone.decode(result - 0.1 * 0.7)
    assert torch.allclose(shifted / 2 + 0.5, images, atol=1e-3)


CONFIGS: dict[str, dict[str, Any]] = {
    "leading": {},
    "to-one": {"set_alpha_to_one": True},
    "no-offset": {"steps_offset": 0},
    "trailing": {"timestep_spacing": "trailing"},
    "zero-snr": {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    "betas": {"trained_betas": torch.linspace(1e-4, 2e-2, 500).tolist(), "num_train_timesteps": 500},
    "linear": {"beta_schedule": "linear", "prediction_type": "sample", "set_alpha_to_one": True},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("num_steps", [1, 5, 20])
def test_trajectories_equal_diffusers_ddim(make_backbone: MakeBackbone, config: dict[str, Any], num_steps: int) -> None:
    backbone = make_backbone(**{"prediction_type": "epsilon", **config})
    oracle = DDIMScheduler.from_config(backbone._grid.config)
    oracle.set_timesteps(num_steps)
    text = backbone.encode_text([PROMPT])
    steps = list(sample(backbone, seeds.initial_noise((4, 8, 8), [3]), backbone.schedule(num_steps), text))
    z = seeds.initial_noise((4, 8, 8), [3])
    for step, t in zip(steps, oracle.timesteps, strict=True):
        with torch.no_grad():
            output = backbone.unet(z, t, text.tensors["sequence"]).sample
        z = oracle.step(output, int(t), z).prev_sample
        assert torch.allclose(step.z, z, rtol=1e-3, atol=1e-4 * float(z.abs().max()))


@pytest.mark.parametrize("name", ["leading", "to-one", "trailing", "betas", "linear"])
@pytest.mark.parametrize("num_steps", [2, 5, 20])
def test_trajectories_equal_diffusers_dpmsolver(make_backbone: MakeBackbone, name: str, num_steps: int) -> None:
    backbone = make_backbone(**{"prediction_type": "v_prediction", **CONFIGS[name]})
    config = dict(backbone._grid.config)
    last = "zero" if config["set_alpha_to_one"] else "sigma_min"
    oracle = DPMSolverMultistepScheduler.from_config(config, final_sigmas_type=last, euler_at_final=True)
    schedule = backbone.schedule(num_steps)
    oracle.set_timesteps(timesteps=schedule.timestep[:-1].tolist())
    text = backbone.encode_text([PROMPT])
    steps = list(sample(backbone, seeds.initial_noise((4, 8, 8), [3]), schedule, text, sampler="dpmpp_2m"))
    z = seeds.initial_noise((4, 8, 8), [3])
    for step, t in zip(steps, oracle.timesteps, strict=True):
        with torch.no_grad():
            output = backbone.unet(z, t, text.tensors["sequence"]).sample
        z = oracle.step(output, t, z).prev_sample
        assert torch.allclose(step.z, z, rtol=1e-3, atol=2e-4 * float(z.abs().max()))


@pytest.mark.parametrize("num_steps", [7, 30, 61, 999])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_every_grid_has_its_length_and_falls(make_backbone: MakeBackbone, spacing: str, num_steps: int) -> None:
    backbone = make_backbone(timestep_spacing=spacing, steps_offset=0)
    schedule = backbone.schedule(num_steps)
    assert len(schedule) == num_steps + 1
    assert (schedule.sigma.diff()[:-1] < 0).all()
    assert schedule.sigma[-1] <= schedule.sigma[-2]
    chosen = backbone.levels[schedule.timestep[:-1]]
    assert torch.equal(chosen.alpha, schedule.alpha[:-1])


@pytest.mark.parametrize("num_steps", [0, 1001])
def test_impossible_grids_are_refused(eps_backbone: StableDiffusionBackbone, num_steps: int) -> None:
    with pytest.raises(OptionError, match="between 1 and 1000"):
        eps_backbone.schedule(num_steps)


def test_a_grid_past_the_last_level_is_refused(eps_backbone: StableDiffusionBackbone) -> None:
    with pytest.raises(OptionError, match="ask for fewer"):
        eps_backbone.schedule(1000)  # leading spacing with offset 1 would need level 1000


@pytest.mark.parametrize("other", [PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_any_diffusers_scheduler_config_will_do(make_pipeline: MakePipeline, other: Any) -> None:
    pipeline = make_pipeline(prediction_type="v_prediction")
    expected = StableDiffusionBackbone.from_pipeline(make_pipeline(prediction_type="v_prediction"), name="tiny")
    pipeline.scheduler = other.from_config(pipeline.scheduler.config)
    backbone = StableDiffusionBackbone.from_pipeline(pipeline, name="tiny")
    assert backbone.prediction is Prediction.V
    assert torch.equal(backbone.levels.alpha, expected.levels.alpha)
    assert torch.equal(backbone.schedule(10).timestep, expected.schedule(10).timestep)


def test_levels_are_those_of_the_config(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)
    assert torch.allclose(backbone.levels.alpha**2, kept, atol=1e-5)
    assert torch.allclose(backbone.levels.alpha**2 + backbone.levels.sigma**2, torch.ones(1000).double())
    assert torch.equal(backbone.levels.timestep, torch.arange(1000))


def test_text_encoding_equals_the_pipeline(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    expected, null = pipeline.encode_prompt([PROMPT, "a cat"], "cpu", 1, True)
    backbone = StableDiffusionBackbone.from_pipeline(pipeline, name="tiny")
    conditioning = backbone.encode_text([PROMPT, "a cat"])
    assert torch.equal(conditioning.tensors["sequence"], expected)
    assert torch.equal(backbone.encode_text([""]).tensors["sequence"], null[:1])
    assert conditioning.learnable == {"sequence"}
    assert not conditioning.tensors["sequence"].requires_grad


def test_encoding_is_the_scaled_and_shifted_posterior_mean(eps_backbone: StableDiffusionBackbone) -> None:
    image = torch.rand(2, 3, 16, 16, generator=seeds.generator(0)) * 2 - 1
    z = eps_backbone.encode(image)
    with torch.no_grad():
        mean = eps_backbone.vae.encode(image).latent_dist.mode()
    assert torch.allclose(z, (mean - 0.1) * 0.7, atol=1e-6)  # the fixture's shift and scale
    assert torch.equal(z, eps_backbone.encode(image))
    with torch.no_grad():
        expected = eps_backbone.vae.decode(mean).sample.clamp(-1, 1)
    assert torch.allclose(eps_backbone.decode(z), expected, atol=1e-5)
    assert eps_backbone.decode(100 * z).abs().max() <= 1


def test_rows_do_not_touch_each_other(tiny_backbone: StableDiffusionBackbone) -> None:
    text = tiny_backbone.encode_text(["a dog", "a cat", ""])
    z, t = seeds.initial_noise((4, 8, 8), [0, 1, 2]), torch.tensor([10, 500, 900])
    with torch.no_grad():
        together = tiny_backbone.predict(z, t, text)
        for i in range(3):
            alone = tiny_backbone.predict(z[i : i + 1], t[i : i + 1], text[i : i + 1])
            assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


def test_gradients_reach_the_text_and_no_weight(tiny_backbone: StableDiffusionBackbone) -> None:
    leaf: Conditioning = tiny_backbone.encode_text([PROMPT]).trainable()
    pairs = fixed_pairs(3, tiny_backbone.levels, (4, 8, 8))
    denoising_loss(tiny_backbone, seeds.initial_noise((4, 8, 8), [1]), pairs, leaf).mean().backward()
    gradient = leaf.tensors["sequence"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert all(p.grad is None for p in tiny_backbone.unet.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near_float32(make_pipeline: MakePipeline, dtype: torch.dtype) -> None:
    exact = StableDiffusionBackbone.from_pipeline(make_pipeline(), name="tiny")
    half = StableDiffusionBackbone.from_pipeline(make_pipeline(), name="tiny", dtype=dtype)
    cast = StableDiffusionBackbone.from_pipeline(make_pipeline(), name="tiny", autocast=torch.bfloat16)
    z, t = seeds.initial_noise((4, 8, 8), [0]), torch.tensor([500])
    text = exact.encode_text([PROMPT])
    with torch.no_grad(), cast.lower_precision():
        outputs = [backbone.predict(z, t, text) for backbone in (exact, half, cast)]
    assert torch.equal(cast.predict(z, t, text), outputs[0])
    for output in outputs[1:]:
        assert output.dtype == torch.float32
        assert not torch.equal(output, outputs[0])
        assert torch.allclose(output, outputs[0], atol=0.05)
    assert half.unet.dtype == dtype
    assert cast.unet.dtype == torch.float32


def test_a_folder_gives_the_same_model(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline(prediction_type="v_prediction", word_level=True)
    pipeline.save_pretrained(tmp_path / "model")
    loaded = loading.load(tmp_path / "model", "cpu")
    backbone = StableDiffusionBackbone.from_pipeline(pipeline, name="tiny")
    assert loaded.fingerprint == backbone.fingerprint
    assert loaded.prediction is Prediction.V
    assert torch.equal(final(loaded, 4, "ddim", 2.0), final(backbone, 4, "ddim", 2.0))
    assert loaded.report_text("a zebra").unknown_words == ("zebra",)


def test_the_fingerprint_sees_values_and_configs_not_files(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    def print_of(pipeline: Any, **keywords: Any) -> str:
        return StableDiffusionBackbone.from_pipeline(pipeline, name="tiny", **keywords).fingerprint

    original = print_of(make_pipeline())
    assert original == print_of(make_pipeline(), dtype=torch.float16)
    changed = make_pipeline()
    with torch.no_grad():
        changed.vae.decoder.conv_out.bias[0] += 1e-3
    assert print_of(changed) != original
    assert print_of(make_pipeline(prediction_type="v_prediction")) != original
    assert print_of(make_pipeline(beta_end=0.013)) != original
    # Half-precision files, loaded in either precision, are one model.
    make_pipeline().to(torch.float16).save_pretrained(tmp_path)
    halves = [loading.load(tmp_path, "cpu", d).fingerprint for d in (torch.float16, torch.float32)]
    assert halves[0] == halves[1] != original


def test_pickled_weights_are_never_read(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    make_pipeline().save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.glob("unet/*.bin"))
    with pytest.raises(ModelError, match="could not be loaded"):
        loading.load(tmp_path, "cpu")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(make_pipeline: MakePipeline, tmp_path: Path, part: str) -> None:
    make_pipeline().save_pretrained(tmp_path)
    (tmp_path / part).rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=part):
        loading.load(tmp_path, "cpu")


def test_damaged_weights_are_an_error_not_a_random_model(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    make_pipeline().save_pretrained(tmp_path)
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="could not be loaded"):
        loading.load(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("file", "model"),
    [("unet/diffusion_pytorch_model", "UNet2DConditionModel"), ("text_encoder/model", "CLIPTextModel")],
)
def test_missing_tensors_are_an_error_not_a_random_model(
    make_pipeline: MakePipeline, tmp_path: Path, file: str, model: str
) -> None:
    make_pipeline().save_pretrained(tmp_path)
    path = tmp_path / f"{file}.safetensors"
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"the file of {model} lacks 1 tensors"):
        loading.load(tmp_path, "cpu")


def test_other_kinds_of_model_are_refused(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline()
    pipeline.unet.register_to_config(in_channels=9)
    with pytest.raises(ModelError, match="takes 9 channels"):
        StableDiffusionBackbone.from_pipeline(pipeline, name="inpainting")
    pipeline = make_pipeline(prediction_type="flow_prediction")
    with pytest.raises(ModelError, match="flow_prediction"):
        StableDiffusionBackbone.from_pipeline(pipeline, name="flow")


def test_loading_shows_nothing(make_pipeline: MakePipeline, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_pipeline().save_pretrained(tmp_path)
    capfd.readouterr()
    loading.load(tmp_path, "cpu")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"
