"""What methods share: the part of a schedule at a strength, noising, checks, and reading a state."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from imagic.core.errors import OptionError, StateError, TextError
from imagic.core.options import build_options
from imagic.core.sampling import LatentProgress
from imagic.core.types import FitRequest
from imagic.methods import _common as common
from imagic.methods.encode_decode import EncodeDecode
from imagic.methods.sdedit import SDEdit
from tests.methods.conftest import finish
from tests.methods.gaussians import Gaussians, drawn
from tests.methods.running import fit


# As diffusers' img2img counts: int(N r), so that 0.29 of 100 is 28, since 0.29 is a little less than 29 hundredths.
@pytest.mark.parametrize(
    ("num_steps", "strength", "steps"),
    [(50, 0.8, 40), (50, 1.0, 50), (50, 0.0, 0), (50, 0.019, 0), (50, 0.02, 1), (100, 0.29, 28), (1, 0.99, 0)],
)
def test_a_strength_is_the_last_steps_of_a_schedule(num_steps: int, strength: float, steps: int) -> None:
    schedule = Gaussians().schedule(num_steps)
    part = common.part_of(schedule, strength)
    assert len(part) == steps + 1
    assert torch.equal(part.timestep, schedule.timestep[num_steps - steps :])
    assert torch.equal(part.sigma, schedule.sigma[num_steps - steps :])


def test_noising_goes_to_the_first_level_and_stays_away_from_the_clean_one() -> None:
    z0, noise = torch.full((1, 4, 2, 2), 0.5), torch.randn(3, 4, 2, 2)
    schedule = Gaussians().schedule(10)
    noisy = common.noised(z0, schedule[4:], noise)
    variance = float(schedule.sigma[4]) ** 2
    torch.testing.assert_close(noisy, (1 - variance) ** 0.5 * 0.5 + variance**0.5 * noise)
    assert schedule.sigma[-1] > 0  # this checkpoint's last level
    assert torch.equal(common.noised(z0, schedule[-1:], noise), z0.expand(3, 4, 2, 2))


def test_missing_texts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    request = FitRequest(torch.zeros(1, 4, 2, 2), "a", " ", "")
    common.check_fit(SDEdit(), Gaussians(), request)
    for name, words in (("source_text", "'sdedit' needs a source text"), ("instruction", "an instruction")):
        monkeypatch.setattr(SDEdit, "texts", ("target_text", name))
        with pytest.raises(TextError, match=words):
            common.check_fit(SDEdit(), Gaussians(), request)


def test_a_state_is_read_as_it_was_fitted() -> None:
    model, request = Gaussians(), drawn(source_text="a", target_text="b")
    state = fit(EncodeDecode(), model, request, num_steps=7)
    inputs = common.Inputs.unpack(EncodeDecode(), model, state)
    assert torch.equal(inputs.z0, request.image)
    assert inputs.fit_options == EncodeDecode.FitOptions(num_steps=7)
    for row, text in ((inputs.target, "b"), (inputs.source, "a"), (inputs.null, "")):
        assert torch.equal(row.tensors["sequence"], model.encode_text([text]).tensors["sequence"])
    other = common.Inputs.unpack(EncodeDecode(), model, state, "a").target
    assert torch.equal(other.tensors["sequence"], inputs.source.tensors["sequence"])


@pytest.mark.parametrize(
    "facts", [{"options": {"num_steps": 0}}, {"options": {"steps": 3}}, {"options": None}, {"options": 7}]
)
def test_a_state_with_impossible_options_is_refused(facts: dict[str, object]) -> None:
    state = fit(EncodeDecode(), Gaussians(), drawn(), num_steps=2)
    with pytest.raises(StateError, match="damaged"):
        common.Inputs.unpack(EncodeDecode(), Gaussians(), replace(state, facts={**state.facts, **facts}))


def test_a_fact_or_the_latent_that_is_missing_is_named() -> None:
    state = fit(SDEdit(), Gaussians(), drawn())
    with pytest.raises(StateError, match="z0"):
        common.Inputs.unpack(SDEdit(), Gaussians(), replace(state, tensors={}))


def test_equal_strengths_are_rendered_once() -> None:
    assert build_options(common.StrengthOptions, {}).asked == (0.8,)
    assert build_options(common.StrengthOptions, {"strength": 0.1, "strengths": [1, 0.5, 1.0]}).asked == (1.0, 0.5)
    with pytest.raises(OptionError, match="between 0 and 1"):
        build_options(common.StrengthOptions, {"strengths": [0.5, 1.1]})


def test_candidates_stand_seed_by_seed_and_each_strength_is_a_stage() -> None:
    calls = []

    def render(strength: float, seeds: list[int]) -> Generator[LatentProgress, None, Tensor]:
        calls.append((strength, list(seeds)))
        z = torch.tensor([10.0 * strength + seed for seed in seeds]).reshape(-1, 1, 1, 1)
        for step in (1, 2):
            yield LatentProgress("", step, 2, z=z, x0_hat=z)
        return z

    z0, model = torch.zeros(1, 1, 1, 1), Gaussians()
    text = model.encode_text(["a"])
    seen, result = finish(common.render_each(model, z0, render, (0.5, 0.2), (3, 1, 2), 2, text=text))
    assert calls == [(0.5, [3, 1]), (0.5, [2]), (0.2, [3, 1]), (0.2, [2])]
    found = [(candidate.seed, candidate.strength, float(candidate.image)) for candidate in result.chosen]
    assert found == [(3, 0.5, 8), (3, 0.2, 5), (1, 0.5, 6), (1, 0.2, 3), (2, 0.5, 7), (2, 0.2, 4)]
    stages = [(progress.stage, progress.step, progress.total) for progress in seen]
    assert stages == [(f"render at {strength}", step, 4) for strength in (0.5, 0.2) for step in (1, 2, 3, 4)]
    (progress, _), _ = finish(common.render_each(model, z0, render, (0.5,), (3,), 2, text=text))
    assert progress.stage == "render"
