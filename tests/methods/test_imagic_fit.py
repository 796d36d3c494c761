"""Stages A and B against a straightforward loop with diffusers' own scheduler and torch's Adam, and their promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core import recomputing, seeds
from imagic.core.errors import OptionError, TextError
from imagic.core.losses import Pairs, fixed_pairs, stratified_pairs
from imagic.core.options import build_options
from imagic.core.types import FitRequest, Progress, State
from imagic.methods._imagic_fit import SD1_PARAMETERS, Subject, fit_embedding, fit_network, network_rate
from imagic.methods._imagic_options import FitOptions
from imagic.methods.imagic import Imagic
from tests.conftest import MakeBackbone, MakePipeline
from tests.methods.conftest import assert_untouched, finish, snapshot

SHORT: dict[str, Any] = {
    "embedding_steps": 6,
    "embedding_pairs": 3,
    "network_steps": 5,
    "network_pairs": 2,
    "measured_pairs": 4,
    "measure_every": 2,
}
LATENT = (4, 8, 8)


def options(**values: Any) -> FitOptions:
    return build_options(FitOptions, {**SHORT, **values})


def fit(backbone: StableDiffusionBackbone, request: FitRequest, **values: Any) -> tuple[list[Progress], State]:
    return finish(Imagic().fit(backbone, request, options(**values)))


class PlainImagic:
    """The two stages as one would write them by hand for one diffusers pipeline."""

    def __init__(self, pipeline: StableDiffusionPipeline, image: Tensor, text: str) -> None:
        self.unet = pipeline.unet
        self.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        config = pipeline.vae.config
        tokens = pipeline.tokenizer(
            [text], padding="max_length", max_length=pipeline.tokenizer.model_max_length, return_tensors="pt"
        )
        with torch.no_grad():
            mean = pipeline.vae.encode(image).latent_dist.mean
            self.z0 = (mean - config.shift_factor) * config.scaling_factor
            self.e_tgt = pipeline.text_encoder(tokens.input_ids)[0]

    def loss(self, pairs: Pairs, e: Tensor) -> Tensor:
        z0 = self.z0.expand(len(pairs), -1, -1, -1)
        noisy = self.scheduler.add_noise(z0, pairs.eps, pairs.index)
        if self.scheduler.config.prediction_type == "epsilon":
            target = pairs.eps
        else:
            target = self.scheduler.get_velocity(z0, pairs.eps, pairs.index)
        return F.mse_loss(self.unet(noisy, pairs.index, e.expand(len(pairs), -1, -1)).sample, target)

    def minimise(
        self, parameters: list[Tensor], lr: float, e: Tensor, batches: list[Pairs], falling: bool = False
    ) -> list[float]:
        adam = torch.optim.Adam(parameters, lr=lr)
        losses = []
        for step, pairs in enumerate(batches):
            adam.param_groups[0]["lr"] = lr * (1 - step / len(batches)) if falling else lr
            loss = self.loss(pairs, e)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
        return losses


def drawn(backbone: StableDiffusionBackbone, stage: str, steps: int, num: int) -> list[Pairs]:
    """The (t, eps) that a fit with seed 5 sees."""
    generator = seeds.generator(seeds.derive(5, f"imagic-{stage}"))
    return [stratified_pairs(num, backbone.levels, LATENT, generator) for _ in range(steps)]


@pytest.mark.parametrize(("kind", "cooldown"), [("epsilon", 0.0), ("v_prediction", 0.0), ("v_prediction", 1.0)])
def test_both_stages_equal_a_plain_loop(
    make_pipeline: MakePipeline, request_to_sit: FitRequest, kind: str, cooldown: float
) -> None:
    plain = PlainImagic(make_pipeline(prediction_type=kind), request_to_sit.image, request_to_sit.target_text)
    backbone = StableDiffusionBackbone.from_pipeline(make_pipeline(prediction_type=kind), name="tiny")
    chosen = options(embedding_lr=1e-2, network_lr=1e-6, cooldown=cooldown)

    progress, state = finish(Imagic().fit(backbone, request_to_sit, chosen))

    before = snapshot(plain.unet)
    e = plain.e_tgt.clone().requires_grad_()
    plain.unet.requires_grad_(False)
    losses_a = plain.minimise(
        [e], 1e-2 * plain.e_tgt.square().mean().sqrt().item(), e, drawn(backbone, "embedding", 6, 3), cooldown > 0
    )
    e = e.detach()
    plain.unet.requires_grad_(True)
    rate = 1e-6 * (859_520_964 / sum(p.numel() for p in plain.unet.parameters())) ** 0.5
    losses_b = plain.minimise(list(plain.unet.parameters()), rate, e, drawn(backbone, "network", 5, 2), cooldown > 0)

    assert torch.equal(state.tensors["e_tgt.sequence"], plain.e_tgt)
    seen = {stage: [p.values["loss"] for p in progress if p.stage == stage] for stage in ("embedding", "network")}
    assert seen["embedding"] == pytest.approx(losses_a, rel=1e-5)
    assert seen["network"] == pytest.approx(losses_b, rel=1e-5)
    torch.testing.assert_close(state.tensors["e_opt.sequence"], e, rtol=0, atol=1e-5)
    changes = {name.removeprefix("change."): t for name, t in state.tensors.items() if name.startswith("change.")}
    assert changes.keys() == before.keys()
    for name, weight in plain.unet.named_parameters():
        moved = weight.detach() - before[name]
        # A weight moves by about 5 rates; half precision and float32 noise under Adam are a small share of one.
        torch.testing.assert_close(changes[name].float(), moved, rtol=0, atol=0.05 * rate)
    with torch.no_grad():
        final = plain.loss(fixed_pairs(4, backbone.levels, LATENT), e).item()
    assert state.facts["losses"]["after_network"] == pytest.approx(final, rel=1e-5)


def test_both_at_once_equal_a_plain_loop(make_pipeline: MakePipeline, request_to_sit: FitRequest) -> None:
    plain = PlainImagic(make_pipeline(), request_to_sit.image, request_to_sit.target_text)
    backbone = StableDiffusionBackbone.from_pipeline(make_pipeline(), name="tiny")
    chosen = options(embedding_lr=1e-2, network_lr=1e-6, cooldown=0.0, joint=True)
    progress, state = finish(Imagic().fit(backbone, request_to_sit, chosen))

    before, weights = snapshot(plain.unet), list(plain.unet.parameters())
    e = plain.e_tgt.clone().requires_grad_()
    rate = 1e-6 * (859_520_964 / sum(p.numel() for p in weights)) ** 0.5
    adam = torch.optim.Adam(
        [{"params": [e], "lr": 1e-2 * plain.e_tgt.square().mean().sqrt().item()}, {"params": weights}], lr=rate
    )
    losses = []
    for pairs in drawn(backbone, "joint", 5, 2):
        loss = plain.loss(pairs, e)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())

    assert [p.stage for p in progress if p.stage != "inversion"] == ["joint"] * 5
    assert [p.values["loss"] for p in progress if p.stage == "joint"] == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(state.tensors["e_opt.sequence"], e.detach(), rtol=0, atol=1e-5)
    for name, weight in plain.unet.named_parameters():
        moved = weight.detach() - before[name]
        torch.testing.assert_close(state.tensors[f"change.{name}"].float(), moved, rtol=0, atol=0.05 * rate)
    found = state.facts["losses"]
    assert (found["before"], found["after_embedding"]) == (found["network"][0][1],) * 2
    assert state.facts["moved"] > 0


def test_stage_a_leaves_no_gradient_for_stage_b(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    subject = Subject(eps_backbone.encode(request_to_sit.image), fixed_pairs(2, eps_backbone.levels, LATENT), 0)
    start = eps_backbone.encode_text([request_to_sit.target_text])
    before = snapshot(eps_backbone.unet)
    _, (fitted, _) = finish(fit_embedding(eps_backbone, subject, start, options()))
    assert_untouched(eps_backbone.unet, before)
    given = fitted.tensors["sequence"].clone()
    assert not fitted.tensors["sequence"].requires_grad
    finish(fit_network(eps_backbone, subject, fitted, options()))
    assert torch.equal(fitted.tensors["sequence"], given)
    assert fitted.tensors["sequence"].grad is None
    assert_untouched(eps_backbone.unet, before)


def test_the_losses_fall_and_are_measured_on_fixed_pairs(
    v_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    many = {"embedding_pairs": 32, "network_pairs": 32, "measured_pairs": 64}
    steps = {"embedding_steps": 20, "network_steps": 20, "measure_every": 8}
    _, state = fit(v_backbone, request_to_sit, **many, **steps, embedding_lr=3e-2, network_lr=3e-6)
    losses = state.facts["losses"]
    assert losses["before"] > losses["after_embedding"] > losses["after_network"]
    assert [step for step, _ in losses["embedding"]] == [0, 8, 16, 20]
    # Stage B starts where stage A ended, on the same pairs.
    assert losses["network"][0] == [0, losses["after_embedding"]]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_weights_are_restored_however_a_fit_ends(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest, tuning: str
) -> None:
    before = snapshot(eps_backbone.unet)
    loop = Imagic().fit(eps_backbone, request_to_sit, options(tuning=tuning))
    assert next(p for p in loop if p.stage == "network").step == 1
    loop.close()
    assert_untouched(eps_backbone.unet, before)

    loop = Imagic().fit(eps_backbone, request_to_sit, options(tuning=tuning))
    next(p for p in loop if p.stage == "network")
    with pytest.raises(KeyboardInterrupt):
        loop.throw(KeyboardInterrupt())
    assert_untouched(eps_backbone.unet, before)

    fit(eps_backbone, request_to_sit, tuning=tuning)
    assert_untouched(eps_backbone.unet, before)


def test_divergence_is_said_and_undone(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    before = snapshot(eps_backbone.unet)
    # A rate of 1 at the size of SD 1 is far more on this network.
    with pytest.raises(OptionError, match=r"diverged.*lower"):
        fit(eps_backbone, request_to_sit, network_lr=1.0, network_steps=50)
    assert_untouched(eps_backbone.unet, before)


def test_updates_may_be_of_lower_precision_and_measurements_are_not(
    make_pipeline: MakePipeline, request_to_sit: FitRequest
) -> None:
    exact, rough = (
        StableDiffusionBackbone.from_pipeline(make_pipeline(), name="tiny", autocast=autocast)
        for autocast in (None, torch.bfloat16)
    )
    (_, state), (_, other) = fit(exact, request_to_sit), fit(rough, request_to_sit)
    losses, others = state.facts["losses"], other.facts["losses"]
    assert others["before"] == losses["before"]
    assert others["after_network"] != losses["after_network"]
    assert others["after_network"] == pytest.approx(losses["after_network"], rel=0.02)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_short_of_memory_it_computes_again_and_fits_the_same(
    eps_backbone: StableDiffusionBackbone,
    request_to_sit: FitRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tuning: str,
) -> None:
    _, expected = fit(eps_backbone, request_to_sit, tuning=tuning)
    assert not caplog.messages
    monkeypatch.setattr(recomputing, "free_bytes", lambda device: 0)
    _, state = fit(eps_backbone, request_to_sit, tuning=tuning)
    assert [stage in line for stage, line in zip(("embedding", "network"), caplog.messages, strict=True)] == [True] * 2
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in expected.tensors.items())
    assert not any(getattr(module, "gradient_checkpointing", False) for module in eps_backbone.unet.modules())


def test_a_fit_depends_on_its_seed_alone(make_backbone: MakeBackbone, request_to_sit: FitRequest) -> None:
    states = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        states.append(fit(make_backbone(), request_to_sit, tuning="lora")[1])
    other = fit(make_backbone(), FitRequest(request_to_sit.image, request_to_sit.target_text, seed=6), tuning="lora")[1]
    assert all(torch.equal(states[0].tensors[name], states[1].tensors[name]) for name in states[0].tensors)
    assert not torch.equal(states[0].tensors["e_opt.sequence"], other.tensors["e_opt.sequence"])


def test_stages_without_steps(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    _, state = fit(eps_backbone, request_to_sit, embedding_steps=0, network_steps=0)
    assert torch.equal(state.tensors["e_opt.sequence"], state.tensors["e_tgt.sequence"])
    assert state.facts["moved"] == 0
    assert state.facts["change"] is None
    assert not any(name.startswith("change") for name in state.tensors)


def test_a_source_text_is_what_is_fitted(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    request = FitRequest(request_to_sit.image, "a sitting dog", source_text="a standing dog", seed=5)
    _, state = fit(eps_backbone, request, embedding_lr=1e-4)
    source = eps_backbone.encode_text(["a standing dog"]).tensors["sequence"]
    target = eps_backbone.encode_text(["a sitting dog"]).tensors["sequence"]
    assert torch.equal(state.tensors["e_src.sequence"], source)
    assert torch.equal(state.tensors["e_tgt.sequence"], target)
    fitted = state.tensors["e_opt.sequence"]
    assert 0 < (fitted - source).norm() < 0.01 * (fitted - target).norm()
    assert state.facts["moved"] == pytest.approx(float((fitted - source).norm() / source.norm()))


def test_only_the_named_parts_are_tuned(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    _, state = fit(eps_backbone, request_to_sit, parts=["attn2"])
    changed = [name for name in state.tensors if name.startswith("change.")]
    assert changed
    assert all("attn2" in name for name in changed)


def test_early_stop(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    # Nothing falls by half in two steps of a tiny rate, so each stage ends at its first measurement.
    progress, _ = fit(eps_backbone, request_to_sit, early_stop=0.5, embedding_lr=1e-6, network_lr=1e-9, start="noise")
    assert [(p.stage, p.step) for p in progress] == [("embedding", 1), ("embedding", 2), ("network", 1), ("network", 2)]


def test_the_rate_of_the_network_follows_its_size() -> None:
    """The documented rule: unchanged at the size of SD 1, twice as high for a quarter of the weights; LoRA as given."""
    weights = {share: [torch.nn.Parameter(torch.empty(SD1_PARAMETERS // share, device="meta"))] for share in (1, 4)}
    assert network_rate(weights[1], options(network_lr=5e-7)) == pytest.approx(5e-7)
    assert network_rate(weights[4], options(network_lr=5e-7)) == pytest.approx(1e-6)
    assert network_rate(weights[4], options(tuning="lora", lora_lr=3e-4)) == 3e-4


def test_the_size_of_sd1() -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    assert sum(p.numel() for p in unet.parameters()) == SD1_PARAMETERS


def test_the_paper_preset_is_the_papers() -> None:
    paper = build_options(FitOptions, Imagic.presets["paper"])
    assert (paper.embedding_steps, paper.embedding_lr, paper.embedding_pairs) == (1000, 2e-3, 1)
    assert (paper.network_steps, paper.network_lr, paper.network_pairs) == (1500, 5e-7, 1)
    assert (paper.tuning, paper.parts, paper.early_stop, paper.start) == ("full", (), 0, "noise")
    assert build_options(FitOptions, Imagic.presets["fast"]) == FitOptions()


def test_an_empty_target_is_refused(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    with pytest.raises(TextError, match="target text"):
        fit(eps_backbone, FitRequest(request_to_sit.image, "  "))
