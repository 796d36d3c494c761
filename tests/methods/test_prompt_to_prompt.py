"""Prompt-to-Prompt against attention control written by hand for diffusers, and the cases whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.conditioning import Conditioning
from imagic.core.errors import AbilityError, OptionError, StateError
from imagic.core.options import build_options
from imagic.core.sampling import sample
from imagic.core.types import Ability, AttentionLayer, EditResult, FitRequest, State
from imagic.methods._attention_control import LocalBlend, Sharing
from imagic.methods._inversions import KINDS, InversionOptions
from imagic.methods.prompt_to_prompt import PromptToPrompt, PromptToPromptEdit
from tests.conftest import TEXT_LENGTH, MakeBackbone, MakePipeline
from tests.methods.conftest import assert_untouched, finish, snapshot
from tests.methods.plain_attention import denoise, sharpen

STEPS = 5
SOURCE, TARGET = "a photo of a standing dog", "a photo of a sitting dog"
SAME = list(range(TEXT_LENGTH))


@pytest.fixture
def backbone(make_backbone: MakeBackbone) -> StableDiffusionBackbone:
    made = make_backbone(prediction_type="v_prediction")
    sharpen(made.unet)
    return made


@pytest.fixture
def request_to_sit(request_to_sit: FitRequest) -> FitRequest:
    return replace(request_to_sit, source_text=SOURCE, target_text=TARGET)


def fit(backbone: StableDiffusionBackbone, request: FitRequest, **values: Any) -> State:
    options = build_options(InversionOptions, {"num_steps": STEPS, "inner_steps": 2, **values})
    return finish(PromptToPrompt().fit(backbone, request, options))[1]


def edit(backbone: StableDiffusionBackbone, state: State, seeds: Sequence[int] = (0,), **values: Any) -> EditResult:
    options = build_options(PromptToPromptEdit, values)
    return finish(PromptToPrompt().edit(backbone, state, options, seeds))[1]


def picture(backbone: StableDiffusionBackbone, state: State, **values: Any) -> Tensor:
    (candidate,) = edit(backbone, state, **values).chosen
    return candidate.image


CASES: dict[str, tuple[str, dict[str, Any], list[int | None]]] = {
    # target, options, and by hand for each position of the target where in the source its attention comes from
    "replace": (TARGET, {}, SAME),
    "refine": (TARGET, {"alignment": "refine"}, [0, 1, 2, 3, 4, None, 6, 7, 8, 9, 10, 11]),
    "longer": ("a photo of a dog sitting on grass", {}, [0, 1, 2, 3, 4, 6, None, None, None, 7, 8, 9]),
    "shorter": ("a dog", {}, [0, 1, 6, *range(7, TEXT_LENGTH), *[TEXT_LENGTH - 1] * 4]),
    "reweight": (SOURCE, {"reweight": ["standing:3", "photo:-1.5"]}, SAME),
    "early": (TARGET, {"cross_steps": 0.5, "self_steps": 0.7}, SAME),
    "no layer": (TARGET, {"self_tokens": 15}, SAME),
}
WEIGHTS = {"reweight": {5: 3.0, 2: -1.5}}


@pytest.mark.parametrize(("case", "inversion"), [*((case, "direct") for case in CASES), ("refine", "negative_prompt")])
def test_an_edit_equals_control_written_by_hand(
    make_pipeline: MakePipeline, request_to_sit: FitRequest, case: str, inversion: str
) -> None:
    target, options, places = CASES[case]
    scale = 4.0 if inversion == "direct" else 2.0  # without the pivots' help, guidance enlarges every rounding
    pipeline = make_pipeline(prediction_type="v_prediction")
    sharpen(pipeline.unet)
    backbone = StableDiffusionBackbone.from_pipeline(pipeline, name="tiny")
    state = fit(backbone, replace(request_to_sit, target_text=target), inversion=inversion, guidance_scale=scale)
    ours = edit(backbone, state, **options)
    source, wanted, null = (backbone.encode_text([text]).tensors["sequence"] for text in (SOURCE, target, ""))
    pivots = state.tensors["pivots"]
    cross_until = int(STEPS * options.get("cross_steps", 0.8))
    self_until = int(STEPS * options.get("self_steps", 0.4)) if "self_tokens" not in options else 0

    def control(maps: Tensor, cross: bool, step: int) -> None:
        giver, taker = maps[2], maps[3]
        own = taker.clone()
        if cross and step < cross_until:
            for position, place in enumerate(places):
                taken = own[:, :, position] if place is None else giver[:, :, place]
                taker[:, :, position] = taken * WEIGHTS.get(case, {}).get(position, 1.0)
        if not cross and step < self_until:
            taker[:] = giver

    def after(z: Tensor, step: int) -> Tensor:
        if inversion != "direct":
            return z
        # As the authors have it: the source branch gets what it misses of the pivot.
        return torch.cat([z[:1] + (pivots[step + 1] - z[:1]), z[1:]])

    nulls = source if inversion == "negative_prompt" else null
    plain = denoise(
        pipeline, pivots[0].repeat(2, 1, 1, 1), torch.cat([source, wanted]), nulls, scale, STEPS, control, after
    )
    pictures = backbone.decode(plain)
    torch.testing.assert_close(ours.reconstruction, pictures[0], rtol=0, atol=2e-4)
    torch.testing.assert_close(ours.chosen[0].image, pictures[1], rtol=0, atol=2e-4)
    assert (pictures[1] - picture(backbone, state, strength=1.0)).abs().max() > 0.005  # control matters here


@pytest.mark.parametrize("inversion", sorted(set(KINDS) - {"direct"}))
@pytest.mark.parametrize("options", [{}, {"strength": 0.0, "alignment": "refine"}])
def test_equal_texts_change_nothing(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest, inversion: str, options: dict[str, Any]
) -> None:
    state = fit(backbone, replace(request_to_sit, target_text=SOURCE), inversion=inversion)
    result = edit(backbone, state, **options)
    torch.testing.assert_close(result.chosen[0].image, result.reconstruction, rtol=0, atol=1e-5)


@pytest.mark.parametrize("inversion", KINDS)
def test_without_shared_steps_the_target_is_sampled_alone(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest, inversion: str
) -> None:
    state = fit(backbone, request_to_sit, inversion=inversion)
    source, target, null = (backbone.encode_text([text]) for text in (SOURCE, TARGET, ""))
    null = source if inversion == "negative_prompt" else null
    # Two rows here too: rounding differs between a batch of two and of one, and guidance multiplies it.
    z, schedule, texts = state.tensors["pivots"][0].repeat(2, 1, 1, 1), backbone.schedule(STEPS), [target, target]
    for step in range(STEPS):
        if inversion == "null_text":
            null = replace(null, tensors={"sequence": state.tensors["nulls.sequence"][step : step + 1]})
        for progress in sample(backbone, z, schedule[step : step + 2], Conditioning.cat(texts), null, 7.5):
            z = progress.z
    alone = backbone.decode(z[:1])[0]
    for options in (
        {"strength": 1.0},
        {"cross_steps": 0.0, "self_steps": 0.0},
        {"strength": 1.0, "reweight": ["dog:9"]},
    ):
        torch.testing.assert_close(picture(backbone, state, **options), alone, rtol=0, atol=1e-6)
    assert (picture(backbone, state) - alone).abs().max() > 0.005


def test_weights_of_one_are_the_identity(backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    state = fit(backbone, request_to_sit)
    plain = picture(backbone, state)
    assert torch.equal(picture(backbone, state, reweight=["sitting:1", "dog:1.0"]), plain)
    assert (picture(backbone, state, reweight=["sitting:4"]) - plain).abs().max() > 0.001


def test_direct_inversion_reconstructs_exactly(backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    state = fit(backbone, request_to_sit, inversion="direct")
    result = edit(backbone, state)
    assert torch.equal(result.reconstruction, backbone.decode(state.tensors["z0"])[0])
    ddim = fit(backbone, request_to_sit, inversion="ddim")
    assert torch.equal(state.tensors["pivots"], ddim.tensors["pivots"])
    assert (edit(backbone, ddim).reconstruction - result.reconstruction).abs().max() > 0.05


def test_a_strength_moves_both_shares() -> None:
    options = PromptToPromptEdit()
    shares = [(options.share(0.8, s), options.share(0.4, s)) for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert np.allclose(shares, [(1, 1), (0.9, 0.7), (0.8, 0.4), (0.4, 0.2), (0, 0)])


def test_self_attention_of_large_layers_is_left_alone() -> None:
    sharing = Sharing((0, 0), 1.0, 1.0, self_tokens=1024)
    large, small = AttentionLayer("a", False, (32, 33)), AttentionLayer("a", False, (32, 32))
    assert not sharing.concerns(large, 0, 10)
    assert sharing.concerns(small, 9, 10)
    assert sharing.concerns(replace(large, cross=True), 9, 10)
    assert not Sharing((0, 0), 0.3, 0.0).concerns(small, 0, 10)
    assert [Sharing((0, 0), 0.35, 0).concerns(replace(small, cross=True), s, 10) for s in (2, 3)] == [True, False]


def looks(
    backbone: StableDiffusionBackbone, words: Sequence[Sequence[int]]
) -> tuple[Callable[..., None], Callable[[], Any]]:
    """By hand: the sum of the maps of the words of either row so far, and the mask at 8 x 8 that follows from it."""
    sums = np.zeros((2, 4, 4))

    def note(maps: Tensor, cross: bool, step: int) -> None:
        if cross:
            for row, positions in enumerate(words):
                for position in positions:
                    sums[row] += maps[2 + row, :, :, position].sum(0).reshape(4, 4).numpy()

    def mask() -> Any:
        spread = [maximum_filter(plane, 3, mode="nearest") for plane in sums]
        return np.kron(np.logical_or(*(plane > 0.9 * plane.max() for plane in spread)), np.ones((2, 2))).astype(bool)

    return note, mask


def test_a_local_blend_equals_one_written_by_hand(make_pipeline: MakePipeline, request_to_sit: FitRequest) -> None:
    pipeline = make_pipeline(prediction_type="v_prediction")
    sharpen(pipeline.unet)
    backbone = StableDiffusionBackbone.from_pipeline(pipeline, name="tiny")
    state = fit(backbone, request_to_sit)
    ours = edit(backbone, state, blend_words=["Dog", "sitting"], blend_threshold=0.9, self_steps=0.0, blend_start=0.4)
    source, wanted, null = (backbone.encode_text([text]).tensors["sequence"] for text in (SOURCE, TARGET, ""))
    pivots = state.tensors["pivots"]
    note, mask = looks(backbone, [[6], [5, 6]])

    def control(maps: Tensor, cross: bool, step: int) -> None:
        if cross and step < 4:
            maps[3] = maps[2]
        note(maps, cross, step)

    def after(z: Tensor, step: int) -> Tensor:
        kept = torch.from_numpy(mask()) if step >= 2 else torch.ones(8, 8, dtype=torch.bool)
        return torch.cat([pivots[step + 1], torch.where(kept, z[1:], pivots[step + 1])])

    texts = torch.cat([source, wanted])
    plain = denoise(pipeline, pivots[0].repeat(2, 1, 1, 1), texts, null, 7.5, STEPS, control, after)
    assert 0.05 < mask().mean() < 0.95
    torch.testing.assert_close(ours.chosen[0].image, backbone.decode(plain)[1], rtol=0, atol=2e-4)


def test_a_blend_keeps_everything_nothing_or_what_the_threshold_says(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    state = fit(backbone, request_to_sit)
    free = picture(backbone, state)
    round_trip = backbone.decode(state.tensors["z0"])[0]
    words = {"blend_words": ["sitting"]}
    torch.testing.assert_close(picture(backbone, state, **words, blend_threshold=0.0), free, rtol=0, atol=1e-5)
    # No map exceeds its own maximum: the whole result is the input's latent, bit for bit.
    assert torch.equal(picture(backbone, state, **words, blend_threshold=1.0), round_trip)
    late = picture(backbone, state, **words, blend_threshold=1.0, blend_start=1.0)
    torch.testing.assert_close(late, free, rtol=0, atol=1e-5)
    assert (free - round_trip).abs().max() > 0.05


def test_the_blend_takes_the_grid_nearest_to_16() -> None:
    words = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    blend = LocalBlend((0, 0, 0), words, start=0, threshold=0.3)
    for side, rows in ((64, (0, 0)), (14, (3, 9)), (8, (7, 7))):
        maps = torch.zeros(3, 2, side * side, 2)
        maps[0, :, rows[0] * side + 1, 0] = 1
        maps[2, 1, rows[1] * side + 1, 1] = 1
        maps[1] = 1  # a row without words looks nowhere, whatever its maps
        blend.add(AttentionLayer(str(side), True, (side, side)), maps)
    expected = torch.zeros(3, 1, 28, 28, dtype=torch.bool)
    expected[:, :, 2 * 2 : 2 * 5, : 2 * 3] = True
    expected[2, :, 2 * 8 : 2 * 11, : 2 * 3] = True
    assert torch.equal(blend.mask((28, 28)), expected)


def test_one_fit_serves_other_targets_and_strengths(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    state = fit(backbone, request_to_sit)
    cat = "a photo of a cat on the grass"
    other = fit(backbone, replace(request_to_sit, target_text=cat))
    assert torch.equal(picture(backbone, state, target_text=cat), picture(backbone, other))
    several = edit(backbone, state, (1, 2), strengths=[0.9, 0.1]).chosen
    assert [(c.seed, c.strength) for c in several] == [(1, 0.9), (1, 0.1), (2, 0.9), (2, 0.1)]
    assert torch.equal(several[1].image, picture(backbone, state, strength=0.1))
    assert torch.equal(several[0].image, several[2].image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reweight": ["standing:2"]}, "'standing' is not in the target text"),
        ({"blend_words": ["dog", "cat"]}, "'cat' is not in the source or the target text"),
        ({"alignment": "replace", "target_text": "a dog"}, "6 and 2 words"),
        ({"reweight": ["dog"]}, "word:weight"),
        ({"reweight": [":2"]}, "word:weight"),
        ({"reweight": ["dog:inf"]}, "word:weight"),
    ],
)
def test_unusable_options_are_refused_before_any_work(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest, options: dict[str, Any], message: str
) -> None:
    state = fit(backbone, request_to_sit)
    backbone.predict = None  # type: ignore[method-assign, assignment]
    with pytest.raises(OptionError, match=message):
        edit(backbone, state, **options)


def test_null_text_inversion_needs_gradients(backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    backbone.abilities = backbone.abilities - {Ability.TEXT_GRADIENT}
    assert fit(backbone, request_to_sit, inversion="direct").tensors.keys() == {"z0", "pivots"}
    with pytest.raises(AbilityError, match="use inversion 'direct'"):
        fit(backbone, request_to_sit, inversion="null_text")


@pytest.mark.parametrize("part", ["pivots", "nulls"])
def test_a_damaged_state_is_refused(backbone: StableDiffusionBackbone, request_to_sit: FitRequest, part: str) -> None:
    state = fit(backbone, request_to_sit)
    less = State(
        state.method,
        {name: tensor for name, tensor in state.tensors.items() if name != part},
        {name: fact for name, fact in state.facts.items() if name != part},
    )
    with pytest.raises(StateError, match=part):
        edit(backbone, less)


def test_the_network_is_as_before_however_an_edit_ends(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    before, processors = snapshot(backbone.unet), dict(backbone.unet.attn_processors)
    loop = PromptToPrompt().edit(backbone, fit(backbone, request_to_sit), PromptToPromptEdit(), (0,))
    next(loop)
    with pytest.raises(RuntimeError, match="stop"):
        loop.throw(RuntimeError("stop"))
    assert_untouched(backbone.unet, before)
    assert all(backbone.unet.attn_processors[name] is processor for name, processor in processors.items())
