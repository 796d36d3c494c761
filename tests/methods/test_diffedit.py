"""DiffEdit: what its paper promises exactly, a plain loop as oracle, and where diffusers' own pipeline departs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import AbilityError, StateError
from imagic.core.masks import into_state
from imagic.core.options import build_options
from imagic.core.sampling import LatentProgress, invert, sample
from imagic.core.text_mask import EMPTY, MaskOptions, binary, find_masks, relative, text_difference
from imagic.core.types import Ability, EditResult, FitRequest, State
from imagic.methods.diffedit import DiffEdit, DiffEditEdit, DiffEditFit
from imagic.methods.encode_decode import EncodeDecode, EncodeDecodeEdit, EncodeDecodeFit
from tests.conftest import MakeBackbone, MakePipeline, build_scheduler
from tests.methods.conftest import finish

SOURCE, TARGET = "a photo of a standing dog", "a photo of a sitting cat"
STEPS = 6
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}


@pytest.fixture
def request_to_change(request_to_sit: FitRequest) -> FitRequest:
    return replace(request_to_sit, target_text=TARGET, source_text=SOURCE)


def fit(backbone: StableDiffusionBackbone, request: FitRequest) -> State:
    return finish(DiffEdit().fit(backbone, request, DiffEditFit(num_steps=STEPS)))[1]


def edit(
    backbone: StableDiffusionBackbone, state: State, seeds: tuple[int, ...] = (0,), **values: Any
) -> tuple[Tensor, EditResult]:
    """The last latents, and the result. A random network differs everywhere: half of the largest makes a mask of it."""
    options = build_options(DiffEditEdit, {"mask_noises": 4, "mask_threshold": 0.5, "guidance_scale": 3.0, **values})
    seen, result = finish(DiffEdit().edit(backbone, state, options, seeds))
    latents = [each.z for each in seen if isinstance(each, LatentProgress)]
    return latents[-1] if latents else state.tensors["z0"], result


def half() -> Tensor:
    """A mask (1, 1, 16, 16) of the upper half."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[:, :, :8] = 1
    return mask


def test_equal_texts_change_nothing_bit_for_bit(
    tiny_backbone: StableDiffusionBackbone, request_to_change: FitRequest
) -> None:
    state = fit(tiny_backbone, replace(request_to_change, source_text=TARGET))
    z, result = edit(tiny_backbone, state, guidance_scale=7.5)
    assert not result.mask.any()
    assert torch.equal(z, state.tensors["z0"])
    assert torch.equal(result.chosen[0].image, result.reconstruction)
    assert list(result.warnings) == [EMPTY]


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_full_mask_equals_encode_decode(
    tiny_backbone: StableDiffusionBackbone, request_to_change: FitRequest, guidance: float
) -> None:
    state = into_state(fit(tiny_backbone, request_to_change), torch.ones(1, 1, 16, 16))
    _, ours = edit(tiny_backbone, state, strength=0.7, guidance_scale=guidance)
    without_source = replace(request_to_change, source_text="")
    _, plain = finish(EncodeDecode().fit(tiny_backbone, without_source, EncodeDecodeFit(num_steps=STEPS)))
    options = EncodeDecodeEdit(strength=0.7, guidance_scale=guidance)
    _, expected = finish(EncodeDecode().edit(tiny_backbone, plain, options, (0,)))
    assert torch.equal(ours.chosen[0].image, expected.chosen[0].image)
    assert (ours.chosen[0].image - ours.reconstruction).abs().max() > 0.01


def test_a_full_mask_without_text_is_the_models_own_round_trip(
    tiny_backbone: StableDiffusionBackbone, request_to_change: FitRequest
) -> None:
    state = into_state(fit(tiny_backbone, request_to_change), torch.ones(1, 1, 16, 16))
    # No text is refused as a target, hence by hand.
    state = replace(state, facts={**state.facts, "target_text": ""})
    z, _ = edit(tiny_backbone, state, strength=1.0)
    null, schedule = tiny_backbone.encode_text([""]), tiny_backbone.schedule(STEPS)
    _, trajectory = finish(invert(tiny_backbone, state.tensors["z0"], schedule, null))
    _, expected = finish(sample(tiny_backbone, trajectory[0], schedule, null))
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-4)


def test_outside_the_mask_the_latent_is_the_inputs_bit_for_bit(
    tiny_backbone: StableDiffusionBackbone, request_to_change: FitRequest
) -> None:
    state = fit(tiny_backbone, request_to_change)
    z, result = edit(tiny_backbone, state, seeds=(0, 1), guidance_scale=7.5)
    assert result.mask.shape == (2, 1, 8, 8)
    inside = result.mask.bool().expand_as(z)
    assert 0 < float(result.mask.mean()) < 1
    before = state.tensors["z0"].expand_as(z)
    assert torch.equal(z[~inside], before[~inside])
    assert ((z - before).abs()[inside] > 1e-4).float().mean() > 0.9


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("strength", [0.4, 0.8, 1.0])
def test_an_edit_equals_a_plain_loop_over_diffusers_schedulers(
    make_backbone: MakeBackbone, request_to_change: FitRequest, prediction: str, strength: float
) -> None:
    backbone = make_backbone(prediction_type=prediction)
    ours, result = edit(backbone, fit(backbone, request_to_change), strength=strength)

    target, null = (backbone.encode_text([each]).tensors["sequence"] for each in (TARGET, ""))
    z0 = backbone.encode(request_to_change.image)

    def network(z: Tensor, t: Any, text: Tensor) -> Tensor:
        with torch.no_grad():
            return backbone.unet(z, t, encoder_hidden_states=text).sample

    _, path = finish(invert(backbone, z0, backbone.schedule(STEPS), backbone.encode_text([""])))
    back = DDIMScheduler(**NOISE, steps_offset=1, set_alpha_to_one=False, prediction_type=prediction)
    back.set_timesteps(STEPS)
    count = int(STEPS * strength)
    z = path[STEPS - count]
    for step, t in zip(range(STEPS - count, STEPS), back.timesteps[STEPS - count :], strict=True):
        without, with_text = network(z, t, null), network(z, t, target)
        z = back.step(without + 3.0 * (with_text - without), int(t), z).prev_sample
        z = torch.where(result.mask.bool(), z, path[step + 1])
    torch.testing.assert_close(ours, z, rtol=0, atol=2e-3)
    assert 0 < float(result.mask.mean()) < 1


def test_strength_0_gives_the_input_back(tiny_backbone: StableDiffusionBackbone, request_to_change: FitRequest) -> None:
    _, result = edit(tiny_backbone, fit(tiny_backbone, request_to_change), strength=0.0)
    assert torch.equal(result.chosen[0].image, result.reconstruction)


def test_a_picture_does_not_depend_on_its_batch(
    eps_backbone: StableDiffusionBackbone, request_to_change: FitRequest
) -> None:
    state = fit(eps_backbone, request_to_change)
    _, together = edit(eps_backbone, state, (5, 6, 5), strengths=[0.3, 0.9])
    assert [(c.seed, c.strength) for c in together.chosen] == [(s, r) for s in (5, 6, 5) for r in (0.3, 0.9)]
    assert torch.equal(together.mask[0], together.mask[2])
    for candidate in together.chosen:
        _, alone = edit(eps_backbone, state, (candidate.seed,), strength=candidate.strength, max_batch=1)
        torch.testing.assert_close(alone.chosen[0].image, candidate.image, rtol=0, atol=1e-4)
        assert torch.equal(alone.mask[0], together.mask[0 if candidate.seed == 5 else 1])


def test_a_mask_of_the_request_is_used_for_all_seeds(
    eps_backbone: StableDiffusionBackbone, request_to_change: FitRequest
) -> None:
    state = fit(eps_backbone, replace(request_to_change, mask=half()))
    z, result = edit(eps_backbone, state, (1, 2))
    assert torch.equal(result.mask, half()[:, :, ::2, ::2])
    assert torch.equal(result.chosen[0].image, result.chosen[1].image)
    assert torch.equal(z[:, :, 4:], state.tensors["z0"][:, :, 4:])
    z, inverted = edit(eps_backbone, state, mask_invert=True)
    assert torch.equal(inverted.mask, 1 - result.mask)
    assert torch.equal(z[:, :, :4], state.tensors["z0"][:, :, :4])
    _, soft = edit(eps_backbone, state, mask_feather=0.25)
    assert soft.mask[0, 0, :, 0].tolist() == [1, 1, 1, 0.5, 0, 0, 0, 0]


def test_a_soft_mask_mixes_edit_and_input_in_its_shares(
    eps_backbone: StableDiffusionBackbone, request_to_change: FitRequest
) -> None:
    """With a single step nothing feeds back: the result lies on the line between input and full edit."""
    state, values = fit(eps_backbone, request_to_change), {"strength": 1 / STEPS}
    full, _ = edit(eps_backbone, into_state(state, torch.ones(1, 1, 16, 16)), **values)
    soft, _ = edit(eps_backbone, into_state(state, torch.full((1, 1, 16, 16), 0.25)), **values)
    torch.testing.assert_close(soft, 0.25 * full + 0.75 * state.tensors["z0"], rtol=0, atol=1e-5)
    assert (full - soft).abs().max() > 1e-3


def test_an_empty_mask_is_reported(eps_backbone: StableDiffusionBackbone, request_to_change: FitRequest) -> None:
    state = into_state(fit(eps_backbone, request_to_change), torch.zeros(1, 1, 16, 16))
    _, result = edit(eps_backbone, state)
    assert list(result.warnings) == [EMPTY]
    assert list(edit(eps_backbone, into_state(state, half()))[1].warnings) == []


def test_the_reference_is_the_source_text_or_nothing(
    eps_backbone: StableDiffusionBackbone, request_to_change: FitRequest
) -> None:
    state = fit(eps_backbone, request_to_change)
    texts = {name: eps_backbone.encode_text([name]) for name in (SOURCE, TARGET, "")}
    for choice, reference in (("source", SOURCE), ("empty", "")):
        options = build_options(MaskOptions, {"mask_noises": 4, "mask_threshold": 0.5})
        z0 = state.tensors["z0"]
        search = find_masks(eps_backbone, z0, texts[TARGET], texts[reference], texts[""], (0,), options)
        assert torch.equal(edit(eps_backbone, state, mask_reference=choice)[1].mask, finish(search)[1])
    bare = fit(eps_backbone, replace(request_to_change, source_text=""))
    assert torch.equal(edit(eps_backbone, bare)[1].mask, edit(eps_backbone, state, mask_reference="empty")[1].mask)


def test_one_fit_serves_other_targets(eps_backbone: StableDiffusionBackbone, request_to_change: FitRequest) -> None:
    state = fit(eps_backbone, request_to_change)
    _, other = edit(eps_backbone, state, target_text="a dog on the grass")
    fresh = fit(eps_backbone, replace(request_to_change, target_text="a dog on the grass"))
    _, expected = edit(eps_backbone, fresh)
    assert torch.equal(other.chosen[0].image, expected.chosen[0].image)


def test_what_it_cannot_do_is_refused(make_backbone: MakeBackbone, request_to_change: FitRequest) -> None:
    backbone = make_backbone()
    state = fit(backbone, request_to_change)
    with pytest.raises(StateError, match="'tiny'"):
        edit(make_backbone(prediction_type="v_prediction"), state)
    backbone.abilities = backbone.abilities - {Ability.INVERSION}
    with pytest.raises(AbilityError, match="inversion"):
        fit(backbone, request_to_change)


class TestDiffusers:
    """diffusers' deprecated pipeline agrees where the paper is clear, and departs from it elsewhere."""

    @pytest.fixture
    def pipeline(self, make_pipeline: MakePipeline) -> StableDiffusionDiffEditPipeline:
        grid = {"timestep_spacing": "trailing", "set_alpha_to_one": True}
        parts = make_pipeline(**grid).components
        names = ("vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor")
        pipeline = StableDiffusionDiffEditPipeline(
            **{name: parts[name] for name in names},
            scheduler=build_scheduler(**grid),
            inverse_scheduler=DDIMInverseScheduler(**NOISE, **grid),
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def mask(self, pipeline: StableDiffusionDiffEditPipeline, source: str, **values: Any) -> Any:
        """Their mask of the latent `z0`, at the level 499 of 1000."""
        return pipeline.generate_mask(
            image=self.z0(),
            target_prompt=TARGET,
            source_prompt=source,
            num_maps_per_mask=4,
            num_inference_steps=10,
            mask_encode_strength=0.5,
            generator=torch.Generator().manual_seed(3),
            output_type="np",
            **values,
        )

    def z0(self) -> Tensor:
        return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def test_the_mask_agrees(
        self, pipeline: StableDiffusionDiffEditPipeline, eps_backbone: StableDiffusionBackbone
    ) -> None:
        """With their clamp and threshold. Theirs is guided, which multiplies the differences and leaves the mask."""
        options = build_options(MaskOptions, {"mask_strength": 0.499, "mask_clamp": 3.0})
        texts = [eps_backbone.encode_text([each]) for each in (TARGET, SOURCE, "")]
        noise = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(3))
        ours = binary(relative(text_difference(eps_backbone, self.z0(), *texts, noise, options), options), 0.5)
        np.testing.assert_array_equal(ours[0].numpy(), self.mask(pipeline, SOURCE))
        assert 0 < float(ours.mean()) < 1

    def test_equal_texts_edit_everything(self, pipeline: StableDiffusionDiffEditPipeline) -> None:
        with np.errstate(all="ignore"):
            assert (self.mask(pipeline, TARGET) == 1).all()

    def test_a_mask_without_guidance_crashes(self, pipeline: StableDiffusionDiffEditPipeline) -> None:
        with pytest.raises(TypeError):
            self.mask(pipeline, SOURCE, guidance_scale=1.0)

    def test_an_empty_mask_does_not_give_the_input_back(self, pipeline: StableDiffusionDiffEditPipeline) -> None:
        """Their blend is one level too noisy: the last one mixes in the first inverted latent in place of z0."""
        path = pipeline.invert(
            prompt="", image=self.z0(), num_inference_steps=10, inpaint_strength=0.8, guidance_scale=1.0
        ).latents
        result = pipeline(
            prompt=TARGET,
            mask_image=torch.zeros(1, 1, 8, 8),
            image_latents=path,
            num_inference_steps=10,
            inpaint_strength=0.8,
            output_type="latent",
        ).images
        torch.testing.assert_close(result, path[:, -1])
        assert (result - self.z0()).abs().max() > 0.01

    def test_the_inversion_is_guided_unless_told_otherwise(self, pipeline: StableDiffusionDiffEditPipeline) -> None:
        asked: dict[str, Any] = {"prompt": TARGET, "image": self.z0(), "num_inference_steps": 5}
        as_given, unguided = pipeline.invert(**asked).latents, pipeline.invert(**asked, guidance_scale=1.0).latents
        assert (as_given - unguided).abs().max() > 0.01

    def test_strength_0_crashes(self, pipeline: StableDiffusionDiffEditPipeline) -> None:
        with pytest.raises((RuntimeError, IndexError, ValueError)):
            pipeline.invert(prompt="", image=self.z0(), num_inference_steps=10, inpaint_strength=0.0)
