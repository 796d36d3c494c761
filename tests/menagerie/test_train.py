"""Training by name: the real tasks go on identically, refusals, and a smoke run that learns."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    IFPipeline,
    IFSuperResolutionPipeline,
    StableDiffusionPipeline,
)
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from imagic.backbones.instruction import ADAPTER, read_editor
from imagic.backbones.loading import load
from imagic.core.cascade import paint
from imagic.core.encoder import open_encoder
from imagic.core.errors import ModelError, OptionError
from imagic.core.sampling import sample
from imagic.core.seeds import derive, initial_noise
from imagic.core.types import Ability
from imagic.menagerie import judge
from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.judge import FILE, load_judge
from imagic.menagerie.train import PARTS, PRESETS, train
from imagic.menagerie.training import base, clip, diffusion, instruct, loop, upper, vae
from imagic.menagerie.training.base import BaseTask
from imagic.menagerie.training.clip import ClipTask
from imagic.menagerie.training.decoder import DecoderTask
from imagic.menagerie.training.diffusion import DiffusionTask
from imagic.menagerie.training.exports import begin_with
from imagic.menagerie.training.helpers import HELPERS
from imagic.menagerie.training.instruct import InstructTask
from imagic.menagerie.training.judging import TRIOS, JudgeTask
from imagic.menagerie.training.latents import RICH, encode, latent_store
from imagic.menagerie.training.loop import CHECKPOINT, Plan, Task
from imagic.menagerie.training.pairs import PAIRS, pair
from imagic.menagerie.training.pictures import picture_store
from imagic.menagerie.training.settling import Settling
from imagic.menagerie.training.upper import UpperTask
from imagic.menagerie.training.vae import VaeTask, build_vae, round_trip
from imagic.menagerie.training.world import draw, scenes_of
from tests.backbones.test_families import run
from tests.menagerie import tiny

MakeTask = Callable[[], Task]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of few channels; no sample sheets, and latents left as they are, for pictures take time to draw."""
    monkeypatch.setattr(vae, "CHANNELS", tiny.CHANNELS)
    monkeypatch.setattr(judge, "STEM", 8)
    monkeypatch.setattr(judge, "WIDTHS", ((8, 1), (8, 1), (8, 1)))
    monkeypatch.setattr(diffusion, "UNET", tiny.UNET)
    monkeypatch.setattr(diffusion, "TEXT_WIDTH", tiny.TEXT_WIDTH)
    monkeypatch.setattr(vae, "whiten", lambda vae, device: None)
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    monkeypatch.setattr(clip, "VISION", {**layers, "patch_size": 32})
    monkeypatch.setattr(clip, "TEXT", layers)
    monkeypatch.setattr(instruct, "RANK", 2)
    monkeypatch.setattr(base, "UNET", {**base.UNET, "block_out_channels": (8, 8, 16)})
    monkeypatch.setattr(upper, "UNET", {**upper.UNET, "block_out_channels": (4, 4, 8, 8)})
    monkeypatch.setattr(base, "LAYOUT", {**base.LAYOUT, "attention_head_dim": 4, "addition_embed_type_num_heads": 2})
    monkeypatch.setattr(base, "TEXT_WIDTH", 32)  # of which a norm makes 32 groups
    monkeypatch.setattr(base, "TEXT", {"num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 16, "dropout_rate": 0.0})
    for task in (VaeTask, DecoderTask, JudgeTask, ClipTask, DiffusionTask, InstructTask, BaseTask, UpperTask):
        monkeypatch.setattr(task, "sheet", lambda self, networks: Image.new("RGB", (2, 2)))


def make(part: str, seed: int) -> Task:
    torch.manual_seed(seed)
    match part:
        case "vae":
            return VaeTask()
        case "decoder":
            return DecoderTask(tiny.tiny_vae())
        case "judge":
            return JudgeTask(picture_store(TRIOS, reuse=2, seed=0, shard=4), calibration=2)
        case "clip":
            return ClipTask(picture_store(PAIRS, reuse=2, seed=0, shard=4))
        case "base":
            return BaseTask(picture_store(RICH, reuse=2, seed=0, shard=12))
        case "upper":
            with torch.random.fork_rng():
                torch.manual_seed(0)  # the base that reads its texts is one
                below = BaseTask(picture_store(RICH, reuse=2, seed=0, shard=12))
            return UpperTask(below.pipeline(below.networks()), below.store)
        case "instruct":
            autoencoder = tiny.tiny_vae()
            with torch.random.fork_rng():
                torch.manual_seed(0)  # the model that it is trained on is one
                base = DiffusionTask(
                    autoencoder, latent_store(autoencoder, "f" * 64, reuse=2, seed=0, shard=1, coats=True)
                )
            pairs = latent_store(autoencoder, "f" * 64, PAIRS, reuse=2, seed=0, shard=6)
            return InstructTask(base.pipeline(base.networks()), pairs)
        case _:
            autoencoder = tiny.tiny_vae()
            return DiffusionTask(
                autoencoder, latent_store(autoencoder, "f" * 64, reuse=2, seed=0, shard=12, coats=True)
            )


@pytest.mark.parametrize("part", PARTS)
def test_the_real_tasks_go_on_identically(small: None, tmp_path: Path, part: str) -> None:
    batch = 4 if part == "clip" else 3  # whole pairs, whole trios
    plan = Plan(steps=10, batch=batch, learning_rate=1e-3, warmup=2, ema=0.5, checkpoint_seconds=0)
    list(loop.train(make(part, 0), plan, tmp_path / "whole"))
    stopped = loop.train(make(part, 0), plan, tmp_path / "stopped")
    list(islice(stopped, 3))
    stopped.close()
    list(loop.train(make(part, 1), plan, tmp_path / "stopped"))
    whole, continued = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "stopped"))
    assert whole.keys() == continued.keys()
    assert [name for name in whole if not torch.equal(whole[name], continued[name])] == []


def test_an_exported_model_loads_as_stable_diffusion_and_predicts_what_was_trained(small: None, tmp_path: Path) -> None:
    task = make("diffusion", 0)
    assert isinstance(task, DiffusionTask)
    list(loop.train(task, Plan(steps=2, batch=3, learning_rate=1e-3), tmp_path))
    networks = tiny.averaged(task, tmp_path / CHECKPOINT)
    backbone = load(tmp_path / "export", "cpu")
    assert backbone.image_size == 128
    texts = ["a sitting dog", "a red bird on the snow"]
    z, t = torch.randn(2, 12, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([900, 20])
    found = backbone.predict(z, t, backbone.encode_text(texts))
    tokens = task.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = networks["text_encoder"](tokens).last_hidden_state
        expected = networks["unet"](z, t, hidden).sample
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=5e-3)  # it ships in half precision


def test_an_exported_cascade_loads_as_deepfloyd_and_predicts_what_was_trained(small: None, tmp_path: Path) -> None:
    plan = Plan(steps=2, batch=3, learning_rate=1e-3)
    tasks = {part: make(part, 0) for part in ("base", "upper")}
    trained = {}
    for part, task in tasks.items():
        list(loop.train(task, plan, tmp_path / part))
        trained[part] = tiny.averaged(task, tmp_path / part / CHECKPOINT)
    backbone = load(f"{tmp_path / 'base' / 'export'}+{tmp_path / 'upper' / 'export'}", "cpu")
    (stage,) = backbone.upper_stages()
    assert (backbone.image_size, stage.image_size, stage.scale) == (128, 128, 4)

    texts = ["a sitting dog", "a red bird on the snow"]
    generator = torch.Generator().manual_seed(0)
    t = torch.tensor([900, 20])
    conditioning = backbone.encode_text(texts)
    hidden = base.embed(trained["base"]["text_encoder"], tasks["base"].tokenizer, texts, "cpu")
    torch.testing.assert_close(conditioning.tensors["sequence"], hidden, rtol=2e-2, atol=5e-3)  # half precision

    small_picture = torch.randn(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        expected = trained["base"]["unet"](small_picture, t, hidden).sample[:, :3]
    torch.testing.assert_close(backbone.predict(small_picture, t, conditioning), expected, rtol=2e-2, atol=5e-3)

    z = torch.randn(2, 3, 128, 128, generator=generator)
    beside = stage.beside(conditioning, small_picture, torch.randn(z.shape, generator=generator))
    seen, level = beside.tensors["smaller"], beside.tensors["noise_level"]
    with torch.no_grad():
        expected = trained["upper"]["unet"](torch.cat([z, seen], 1), t, hidden, class_labels=level).sample[:, :3]
    torch.testing.assert_close(stage.predict(z, t, beside), expected, rtol=2e-2, atol=5e-3)


def test_an_exported_cascade_paints_as_diffusers_pipelines_do(small: None, tmp_path: Path) -> None:
    """Their own loops, with DDIM's steps in place of DDPM's, which draw noise."""
    for part in ("base", "upper"):
        list(loop.train(make(part, 0), Plan(steps=2, batch=3, learning_rate=1e-3), tmp_path / part))
    folders = [tmp_path / part / "export" for part in ("base", "upper")]
    kinds = (IFPipeline, IFSuperResolutionPipeline)
    below, above = (
        kind.from_pretrained(folder, dtype=torch.float32) for kind, folder in zip(kinds, folders, strict=True)
    )
    backbone = load("+".join(str(folder) for folder in folders), "cpu")
    (stage,) = backbone.upper_stages()
    stage.num_steps, stage.guidance_scale = 4, 2.0
    for pipeline in (below, above):
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
    embeds, null = below.encode_prompt("a sitting dog", True)
    texts: dict[str, Any] = {"prompt_embeds": embeds, "negative_prompt_embeds": null, "output_type": "pt"}

    steps = {"num_inference_steps": 4, "guidance_scale": 2.0}
    drawn = below(**texts, **steps, generator=torch.Generator().manual_seed(5)).images
    conditioning, empty = backbone.encode_text(["a sitting dog"]), backbone.encode_text([""])
    start = initial_noise((3, 32, 32), [5])
    z = run(sample(backbone, start, backbone.schedule(4), conditioning, empty, 2.0))
    torch.testing.assert_close(z, drawn, rtol=0, atol=1e-4)

    own = torch.Generator().manual_seed(derive(7, "stage-0"))
    enlarged = above(image=z.clamp(-1, 1), **texts, **steps, generator=own).images
    torch.testing.assert_close(run(paint(backbone, z, conditioning, 7)), enlarged.clamp(-1, 1), rtol=0, atol=1e-4)


def test_the_small_picture_is_noised_as_the_stage_will_see_it(small: None) -> None:
    """diffusers' own scheduler, at each picture's own level."""
    task = make("upper", 0)
    assert isinstance(task, UpperTask)
    small_pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    beside, level = task._beside(small_pictures, torch.Generator().manual_seed(1))
    again = torch.Generator().manual_seed(1)
    expected = torch.randint(upper.NOISIEST, (3,), generator=again)
    eps = torch.randn(3, 3, 128, 128, generator=again)
    enlarged = torch.nn.functional.interpolate(small_pictures, (128, 128), mode="bilinear", align_corners=True)
    assert torch.equal(level, expected)
    torch.testing.assert_close(beside, upper.build_noising().add_noise(enlarged, eps, expected))


def test_an_upper_stage_needs_a_base(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="run 'imagic menagerie train base' first"):
        next(train("upper", "smoke", tmp_path))


@pytest.mark.parametrize("part", PARTS)
def test_a_run_begins_with_what_another_exported(small: None, tmp_path: Path, part: str) -> None:
    task = make(part, 0)
    list(loop.train(task, Plan(steps=1, batch=4 if part == "clip" else 3, learning_rate=1e-3), tmp_path))
    exported = tiny.averaged(task, tmp_path / CHECKPOINT)
    fresh = make(part, 1)
    assert begin_with(fresh, tmp_path / "export") == []
    rounding = 2e-3 if part == "judge" else 1e-6  # it ships in 8 bits, the others in 16
    for name, network in fresh.networks().items():
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, exported[name].state_dict()[key], rtol=1e-3, atol=rounding)


def test_a_run_begins_with_no_other_network(small: None, tmp_path: Path) -> None:
    list(loop.train(make("diffusion", 0), Plan(steps=1, batch=3, learning_rate=1e-3), tmp_path))
    assert {path.stem for path in (tmp_path / "export" / "training").iterdir()} == set(HELPERS)
    with pytest.raises(ModelError, match="no weights of 'clip'"):
        begin_with(make("clip", 0), tmp_path / "export")
    with pytest.raises(ModelError, match=r"'vae' in .* are of another network"):
        begin_with(make("vae", 0), tmp_path / "export" / "unet")


def test_what_an_exported_model_lacks_is_learned_first(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(steps=1, batch=2, learning_rate=1e-3)
    list(loop.train(make("diffusion", 0), plan, tmp_path / "first"))
    (tmp_path / "second" / "vae").mkdir(parents=True)
    make("diffusion", 0).vae.save_pretrained(tmp_path / "second" / "vae" / "export")
    smoke = replace(PRESETS["smoke"], plans={"diffusion": plan}, settling=replace(plan, steps=2), shard=4)
    monkeypatch.setitem(PRESETS, "smoke", smoke)
    start = tmp_path / "first" / "export"
    shutil.rmtree(start / "training")
    reports = list(train("diffusion", "smoke", tmp_path / "second", start=start, seed=1))
    assert [(report.step, report.steps) for report in reports] == [(1, 2), (2, 2), (1, 1)]
    settled = load_file(tmp_path / "second" / "diffusion" / "settling" / CHECKPOINT)
    assert {name.split("/")[1] for name in settled if name.startswith("network/")} == set(HELPERS)
    final = load_file(tmp_path / "second" / "diffusion" / CHECKPOINT)
    exported = load_file(start / "unet" / "diffusion_pytorch_model.safetensors")
    moved = [float((final[f"network/unet/{name}"] - before.float()).abs().max()) for name, before in exported.items()]
    assert 0 < max(moved) < 5e-3  # by the one step of the run itself, and half precision
    again = list(train("diffusion", "smoke", tmp_path / "second", start=start, seed=1))
    assert again == []


def test_a_held_network_stays_bit_for_bit(small: None, tmp_path: Path) -> None:
    task = make("diffusion", 0)
    before = {name: copy.deepcopy(network.state_dict()) for name, network in task.networks().items()}
    settling = Settling(task, HELPERS)
    list(loop.train(settling, Plan(steps=2, batch=2, learning_rate=1e-3), tmp_path))
    for name, network in task.networks().items():
        same = [torch.equal(value, before[name][key]) for key, value in network.state_dict().items()]
        assert all(same) == (name not in HELPERS)
        assert all(parameter.requires_grad for parameter in network.parameters())
    assert not (tmp_path / "export").exists()


def test_an_unknown_part_or_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"choose one of {', '.join(PARTS)}\\."):
        next(train("ears", "smoke", tmp_path))
    with pytest.raises(OptionError, match="choose one of smoke, cpu, gpu"):
        next(train("vae", "slow", tmp_path))
    for seed in (-1, 10_000):
        with pytest.raises(OptionError, match="between 0 and 9999"):
            next(train("vae", "smoke", tmp_path, seed=seed))


def test_latents_need_an_autoencoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagic.menagerie.train.WEIGHTS", tmp_path / "nothing")
    for part in ("decoder", "diffusion"):
        with pytest.raises(ModelError, match="run 'imagic menagerie train vae' first"):
            next(train(part, "smoke", tmp_path))


def test_the_editor_needs_a_diffusion_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagic.menagerie.train.WEIGHTS", tmp_path / "nothing")
    with pytest.raises(ModelError, match="run 'imagic menagerie train diffusion' first"):
        next(train("instruct", "smoke", tmp_path))


def test_the_editor_is_trained_on_this_runs_model_in_its_own_latents(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(loop.train(make("diffusion", 0), Plan(steps=1, batch=3, learning_rate=1e-3), tmp_path / "diffusion"))
    monkeypatch.setattr(instruct, "SHOWN", 1)
    smoke = PRESETS["smoke"]
    plans = {"instruct": Plan(steps=1, batch=2, learning_rate=1e-3)}
    monkeypatch.setitem(PRESETS, "smoke", replace(smoke, plans=plans, shard=4))
    list(train("instruct", "smoke", tmp_path))
    base = StableDiffusionPipeline.from_pretrained(tmp_path / "diffusion" / "export", dtype=torch.float32)
    shutil.copytree(tmp_path / "instruct" / "export", tmp_path / "diffusion" / "export" / ADAPTER.parent)
    assert read_editor(tmp_path / "diffusion" / "export", base.unet) is not None
    assert Ability.INSTRUCTION in load(tmp_path / "diffusion" / "export", "cpu").abilities
    (kept,) = (tmp_path / "latents").glob("latents-*-edits-*.safetensors")
    scenes = [scene for number in range(2) for scene in pair(number)]
    torch.testing.assert_close(load_file(kept)["rows"], encode(base.vae, scenes, "cpu").half(), rtol=0, atol=2e-2)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_plan_every_part_in_whole_trios_and_pairs(preset: str) -> None:
    plans = PRESETS[preset].plans
    assert set(plans) == set(PARTS)
    assert plans["judge"].batch % 3 == plans["clip"].batch % 2 == 0
    assert all(plan.warmup < plan.steps for plan in plans.values())


def test_training_spends_itself_on_the_noisier_levels(small: None) -> None:
    density = make("diffusion", 0).grid.levels.density
    assert density is not None
    assert float(density.sum()) == pytest.approx(1)
    assert float(density[:400].sum()) == pytest.approx(0.16)
    assert density[:400].unique().numel() == density[400:].unique().numel() == 1


def fixed_loss(task: DiffusionTask | BaseTask, networks: dict[str, torch.nn.Module]) -> float:
    """The loss of networks on scenes, captions, times and noise that stay the same."""
    task.unet, task.text_encoder = networks["unet"], networks["text_encoder"]
    with torch.no_grad():
        return task.loss(10**6, 24, torch.Generator().manual_seed(0))[1]["loss"]


def editor_loss(task: InstructTask) -> float:
    """The loss of the task's networks on pairs, instructions, times and noise that stay the same."""
    with torch.no_grad():
        return task.loss(10**6, 24, torch.Generator().manual_seed(0))[1]["loss"]


def mean_psnr(network: AutoencoderKL, images: Tensor) -> float:
    with torch.no_grad():
        return vae.psnr((round_trip(network, images) - images).square().mean())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_smoke_run_learns(tmp_path: Path) -> None:
    """About a minute on two free cores."""
    reports = {part: list(train(part, "smoke", tmp_path)) for part in PARTS}
    assert all(len(reports[part]) == PRESETS["smoke"].plans[part].steps for part in PARTS)

    # Each part against itself before training: the same initial weights, on held-out scenes or a fixed batch.
    images = draw(scenes_of(0, 24, held_out=True))
    torch.manual_seed(0)
    untrained = build_vae()
    autoencoder = AutoencoderKL.from_pretrained(tmp_path / "vae" / "export", torch_dtype=torch.float32)
    assert mean_psnr(autoencoder, images) > mean_psnr(untrained, images) + 3

    reader = load_judge(tmp_path / "judge" / "export" / FILE)
    scenes = scenes_of(0, 96, held_out=True)
    read = reader.read(draw(scenes))
    right = [
        found[name] == value for scene, found in zip(scenes, read, strict=True) for name, value in facts(scene).items()
    ]
    chance = sum(1 / len(values) for values in FACTS.values()) / len(FACTS)
    assert sum(right) / len(right) > chance + 0.2
    assert math.isfinite(reader.threshold)

    contrasts = [report.values["contrast"] for report in reports["clip"]]
    assert contrasts[-1] < contrasts[0] - 0.1
    encoder = open_encoder(str(tmp_path / "clip" / "export"), torch.device("cpu"))
    assert encoder.embed_images(images).shape == (24, clip.PROJECTION)

    base = StableDiffusionPipeline.from_pretrained(tmp_path / "diffusion" / "export", dtype=torch.float32)
    editor = InstructTask(base, latent_store(autoencoder, "fixed", PAIRS, reuse=4, seed=1, shard=24))
    start = editor_loss(editor)
    tiny.averaged(editor, tmp_path / "instruct" / CHECKPOINT)
    assert editor_loss(editor) < start - 0.01

    torch.manual_seed(0)
    latents = latent_store(autoencoder, "fixed", reuse=4, seed=1, shard=24, coats=True)
    task = DiffusionTask(autoencoder, latents)
    before = fixed_loss(task, task.networks())
    after = fixed_loss(task, tiny.averaged(task, tmp_path / "diffusion" / CHECKPOINT))
    assert after < 0.8 * before

    torch.manual_seed(0)
    small_pictures = BaseTask(picture_store(RICH, reuse=4, seed=1, shard=24))
    before = fixed_loss(small_pictures, small_pictures.networks())
    assert fixed_loss(small_pictures, tiny.averaged(small_pictures, tmp_path / "base" / CHECKPOINT)) < 0.95 * before
    assert reports["upper"][-1].values["loss"] < reports["upper"][0].values["loss"]
