"""Local blend: what the text hardly touches keeps the input's latent, on maps made by hand and on the bundled model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import imagic
from imagic.core.options import build_options
from imagic.core.types import Backbone, FitRequest
from imagic.methods import _imagic_render as rendering
from imagic.methods._imagic_options import EditOptions, FitOptions
from imagic.methods._imagic_render import Fitted, Shot, render, touched_by_text
from imagic.methods.imagic import Imagic
from tests.methods.conftest import finish


@pytest.fixture(scope="module")
def model() -> Backbone:
    return imagic.load_model("menagerie")


@pytest.fixture(scope="module")
def fitted(model: Backbone) -> Fitted:
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(3)) * 2 - 1
    options = build_options(
        FitOptions, {"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 0, "inversion_steps": 2}
    )
    _, state = finish(Imagic().fit(model, FitRequest(image, "a sitting dog"), options))
    return Fitted.unpack(model, state, "")


@pytest.fixture
def differing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tensor], None]:
    """Makes the model's estimates under the two texts differ by this, (16, 16), in all channels and noises."""

    def by(difference: Tensor) -> None:
        monkeypatch.setattr(rendering, "text_difference", lambda *given: difference.expand(len(given[5]), 12, 16, 16))

    return by


def blending(share: float) -> EditOptions:
    return EditOptions(local_blend=share, max_batch=4)  # the noises in three calls


def test_what_differs_by_more_than_the_share_may_change_and_a_cell_around_it(
    model: Backbone, fitted: Fitted, differing: Callable[[Tensor], None]
) -> None:
    difference = torch.zeros(16, 16)
    difference[4:8, 4:8] = 1.0  # the mean is 1 / 16
    difference[12, 12] = 0.02  # 0.32 of it
    differing(difference)
    touched = touched_by_text(model, fitted, blending(0.4))[0, 0]
    inside = torch.zeros(16, 16)
    inside[3:9, 3:9] = 1  # a cell more on each side
    # The rim is as soft as a mean over three by three cells makes it: 1 within, 2/3 on an edge, 4/9 in a corner.
    assert (touched[4:8, 4:8] == 1).all()
    assert float(touched[3, 5]) == pytest.approx(2 / 3)
    assert float(touched[3, 3]) == pytest.approx(4 / 9)
    assert float(touched[2, 5]) == pytest.approx(1 / 3)
    assert (touched[:2] == 0).all()
    assert (touched[10:] == 0).all()
    assert float(touched_by_text(model, fitted, blending(0.3))[0, 0, 12, 12]) == 1


def test_a_change_of_all_the_picture_holds_nothing_back(
    model: Backbone, fitted: Fitted, differing: Callable[[Tensor], None]
) -> None:
    differing(0.7 + 0.3 * torch.rand(16, 16, generator=torch.Generator().manual_seed(0)))
    assert (touched_by_text(model, fitted, blending(0.4)) == 1).all()


def test_outside_the_input_returns_bit_for_bit_and_inside_the_edit_is_what_it_was(
    model: Backbone, fitted: Fitted
) -> None:
    touched = torch.zeros(1, 1, 16, 16)
    touched[..., :8, :] = 1
    touched[..., 8, :] = 0.5
    options = build_options(EditOptions, {})

    def rendered(fitted: Fitted) -> Tensor:
        shots = [Shot(0.0, 0), Shot(1.0, 0)]
        return finish(render(model, fitted, shots, options, num_steps=2, sampler="ddim", stage="render"))[1]

    plain, blended = rendered(fitted), rendered(replace(fitted, touched=touched))
    assert torch.equal(blended[:, :, 9:], fitted.z0[:, :, 9:].expand(2, -1, -1, -1))
    assert torch.equal(blended[:, :, :8], plain[:, :, :8])
    torch.testing.assert_close(blended[:, :, 8], (plain[:, :, 8] + fitted.z0[:, :, 8]) / 2)


@pytest.mark.parametrize(
    ("start", "share", "blends"), [("inversion", 0.4, 1), ("inversion", 0.0, 0), ("noise", 0.4, 0)]
)
def test_it_blends_where_asked_and_where_results_begin_with_the_inputs_own_noise(
    model: Backbone, monkeypatch: pytest.MonkeyPatch, start: str, share: float, blends: int
) -> None:
    shares: list[float] = []

    def touched(backbone: Backbone, fitted: Fitted, options: EditOptions) -> Tensor:
        shares.append(options.local_blend)
        return torch.ones(1, 1, 16, 16)

    monkeypatch.setattr("imagic.methods.imagic.touched_by_text", touched)
    image = torch.zeros(1, 3, 128, 128)
    values = {"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 0, "inversion_steps": 2, "start": start}
    _, state = finish(Imagic().fit(model, FitRequest(image, "a sitting dog"), build_options(FitOptions, values)))
    options = build_options(EditOptions, {"eta": 1.0, "num_steps": 2, "local_blend": share})
    finish(Imagic().edit(model, state, options, [0]))
    assert shares == [share] * blends
