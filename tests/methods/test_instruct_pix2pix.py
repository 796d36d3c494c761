"""InstructPix2Pix against diffusers' pipeline with the same noise, and its guidance against Eq. 3 of the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.conditioning import Conditioning
from imagic.core.errors import AbilityError, StateError, TextError
from imagic.core.options import build_options
from imagic.core.types import FitRequest, State
from imagic.methods.instruct_pix2pix import InstructPix2Pix, InstructPix2PixEdit, TwoScales
from tests.conftest import MakeBackbone
from tests.instructing import build_instruct_pipeline, instructed_backbone
from tests.methods.running import edit, fit, fit_and_edit

INSTRUCTION = "a photo of the sitting cat"
TIMES = torch.tensor([700, 700])


@pytest.fixture
def request_to_change(request_to_sit: FitRequest) -> FitRequest:
    return FitRequest(request_to_sit.image, "", instruction=INSTRUCTION)


def by_diffusers(image: Tensor, prediction: str, text_scale: float, image_scale: float, seed: int) -> Tensor:
    """The picture of diffusers' pipeline."""
    pipeline = build_instruct_pipeline(prediction_type=prediction)
    with torch.no_grad():
        z = pipeline(
            INSTRUCTION,
            image=(image + 1) / 2,
            num_inference_steps=8,
            guidance_scale=text_scale,
            image_guidance_scale=image_scale,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
        ).images
        return pipeline.vae.decode(z / 0.7 + 0.1).sample[0].clamp(-1, 1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scales", [(7.5, 1.5), (1.2, 2.0)])
@pytest.mark.parametrize("adapter", [False, True])
def test_an_edit_is_that_of_diffusers_pipeline(
    request_to_change: FitRequest, prediction: str, scales: tuple[float, float], adapter: bool
) -> None:
    backbone = instructed_backbone(adapter=adapter, prediction_type=prediction)
    result = fit_and_edit(
        InstructPix2Pix(), backbone, request_to_change, (11, 12), num_steps=8, guidance_scale=scales[0],
        image_guidance=scales[1],
    )  # fmt: skip
    for candidate in result.chosen:
        expected = by_diffusers(request_to_change.image, prediction, *scales, candidate.seed)
        torch.testing.assert_close(candidate.image, expected, rtol=0, atol=5e-4)


def test_diffusers_drops_all_guidance_where_the_papers_equation_keeps_it(request_to_change: FitRequest) -> None:
    """At s_I < 1 diffusers ignores the scale of the text too: its pictures for 7.5 and for 1 are one. Ours are not."""
    image = request_to_change.image
    strong, none = (by_diffusers(image, "epsilon", scale, 0.9, 11) for scale in (7.5, 1.0))
    assert torch.equal(strong, none)
    backbone = instructed_backbone(prediction_type="epsilon")
    state = fit(InstructPix2Pix(), backbone, request_to_change)
    ours = [
        edit(InstructPix2Pix(), backbone, state, (11,), num_steps=8, guidance_scale=scale, image_guidance=0.9)
        .chosen[0]
        .image
        for scale in (7.5, 1.0)
    ]
    assert float((ours[0] - ours[1]).abs().max()) > 0.05
    # Without any guidance both are one again.
    (plain,) = edit(InstructPix2Pix(), backbone, state, (11,), num_steps=8, guidance_scale=1, image_guidance=1).chosen
    torch.testing.assert_close(plain.image, none, rtol=0, atol=5e-4)


class Counted:
    """A backbone whose calls are counted by rows."""

    def __init__(self, backbone: StableDiffusionBackbone) -> None:
        self.prediction, self.with_image, self.rows = backbone.prediction, backbone.with_image, 0
        self._predict = backbone.predict

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        self.rows = len(z)
        return self._predict(z, timestep, conditioning)


@pytest.mark.parametrize(
    ("text_scale", "image_scale", "rows"),
    [
        (7.5, 1.5, 3),
        (1.0, 1.0, 1),
        (0.0, 1.0, 1),
        (0.0, 0.0, 1),
        (3.0, 3.0, 2),
        (7.5, 1.0, 2),
        (0.0, 2.0, 2),
        (2.0, 0.0, 3),
    ],
)
def test_the_guidance_is_equation_3(text_scale: float, image_scale: float, rows: int) -> None:
    """e(0,0) + s_I (e(x,0) - e(0,0)) + s_T (e(x,c) - e(x,0)), from the UNet itself; and no part of weight 0 is run.

    So s_T = s_I = 1 is e(x, c), both 0 is e(0, 0), s_T = 0 at s_I = 1 is e(x, 0), and equal scales are ordinary
    guidance between e(0, 0) and e(x, c).
    """
    backbone = instructed_backbone()
    z0, z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).split([1, 2])
    text, null = backbone.encode_text([INSTRUCTION]), backbone.encode_text([""])

    def e(picture: Tensor, words: Conditioning) -> Tensor:
        sequence = words.tensors["sequence"].expand(2, -1, -1)
        return backbone.unet(torch.cat([z, picture.expand_as(z)], 1), TIMES, sequence).sample

    with torch.no_grad():
        x, nothing = z0 / 0.7 + 0.1, torch.zeros(1, 4, 8, 8)
        e_00, e_x0, e_xc = e(nothing, null), e(x, null), e(x, text)
        expected = e_00 + image_scale * (e_x0 - e_00) + text_scale * (e_xc - e_x0)
        counted = Counted(backbone)
        found = TwoScales(counted, z0, null, text_scale, image_scale).predict(z, TIMES, text)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    assert counted.rows == 2 * rows
    assert float((e_x0 - e_00).abs().max()) > 0.01
    assert float((e_xc - e_x0).abs().max()) > 0.001


@pytest.mark.parametrize(("strength", "scale"), [(0.0, 2.0), (0.25, 1.75), (0.5, 1.5), (1.0, 1.0)])
def test_the_strength_loosens_the_bond_to_the_input(strength: float, scale: float) -> None:
    assert build_options(InstructPix2PixEdit, {}).image_scale(strength) == scale


def test_an_equal_scale_makes_an_equal_picture_whatever_set_it(request_to_change: FitRequest) -> None:
    backbone = instructed_backbone()
    state = fit(InstructPix2Pix(), backbone, request_to_change)
    by_strength = edit(InstructPix2Pix(), backbone, state, strength=0.25, num_steps=4).chosen[0]
    by_scale = edit(InstructPix2Pix(), backbone, state, image_guidance=1.75, num_steps=4).chosen[0]
    assert torch.equal(by_strength.image, by_scale.image)
    assert (by_strength.strength, by_scale.strength) == (0.25, 0.5)


def test_a_fit_serves_any_instruction(request_to_change: FitRequest) -> None:
    backbone = instructed_backbone()
    method = InstructPix2Pix()
    state = fit(method, backbone, request_to_change)
    other = "a dog on the grass"
    (ours,) = edit(method, backbone, state, instruction=other, num_steps=4).chosen
    (known,) = fit_and_edit(
        method, backbone, FitRequest(request_to_change.image, "", instruction=other), num_steps=4
    ).chosen
    assert torch.equal(ours.image, known.image)
    assert float((edit(method, backbone, state, num_steps=4).chosen[0].image - ours.image).abs().max()) > 0.001


def test_what_it_cannot_do_without(make_backbone: MakeBackbone, request_to_change: FitRequest) -> None:
    with pytest.raises(AbilityError, match="instruct_pix2pix' needs instruction"):
        fit(InstructPix2Pix(), make_backbone(), request_to_change)
    backbone = instructed_backbone()
    with pytest.raises(TextError, match="needs an instruction"):
        fit(InstructPix2Pix(), backbone, FitRequest(request_to_change.image, "a sitting dog"))
    state = fit(InstructPix2Pix(), backbone, request_to_change)
    facts = {name: fact for name, fact in state.facts.items() if name != "instruction"}
    with pytest.raises(StateError, match="instruction"):
        edit(InstructPix2Pix(), backbone, State(state.method, state.tensors, facts))
