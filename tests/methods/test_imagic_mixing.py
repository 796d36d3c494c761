"""Mixtures of a fitted, a source and a target text, in closed form; and which of them an edit takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from imagic.core.conditioning import Conditioning
from imagic.core.difference_first import difference_first
from imagic.core.errors import OptionError
from imagic.core.options import build_options
from imagic.methods._imagic_options import EditOptions
from imagic.methods._imagic_render import Fitted, project
from imagic.methods.imagic import Imagic
from tests.methods.conftest import finish
from tests.methods.fakes import Answers, conditioning, fitted_state


def bundle(values: torch.Tensor, pooled: float = 0.0, fact: float = 0.0) -> Conditioning:
    """values: (L, D)."""
    tensors = {"sequence": values[None], "pooled": torch.full((1, 2), pooled), "ids": torch.full((1, 3), fact)}
    return Conditioning(tensors, frozenset({"sequence", "pooled"}))


@pytest.fixture
def texts() -> tuple[Conditioning, Conditioning, Conditioning]:
    """Fitted, source, target; four positions."""
    generator = torch.Generator().manual_seed(0)
    fitted, source, target = torch.randn(3, 4, 5, generator=generator)
    return bundle(fitted, 1.0, 7.0), bundle(source, 3.0, 7.0), bundle(target, 8.0, 9.0)


def test_the_difference_comes_first_and_then_what_the_fit_found_fades(
    texts: tuple[Conditioning, Conditioning, Conditioning],
) -> None:
    fitted, source, target = (each.tensors["sequence"] for each in texts)
    etas = torch.tensor([0.0, 0.125, 0.5, 0.75, 1.0, 1.25])
    mixed = difference_first(*texts, etas.tolist(), None, 2.0)
    arrived, left = (2 * etas).clamp(max=1), 1 - (2 * etas - 1).clamp(min=0)
    expected = source + arrived[:, None, None] * (target - source) + left[:, None, None] * (fitted - source)
    torch.testing.assert_close(mixed.tensors["sequence"], expected)
    # 1 - 3 of what the fit found stay half way, on the target's 8.
    torch.testing.assert_close(mixed.tensors["pooled"][:, 0], 3 + 5 * arrived - 2 * left)
    assert torch.equal(mixed.tensors["sequence"][:1], fitted)
    assert torch.equal(mixed.tensors["sequence"][4:5], target)


def test_words_lead_in_either_half(texts: tuple[Conditioning, Conditioning, Conditioning]) -> None:
    mixed = difference_first(*texts, [0.25, 0.75], 3, 2.0).tensors["sequence"]
    plain = difference_first(*texts, [0.25, 0.5, 0.75, 1.0], None, 2.0).tensors["sequence"]
    torch.testing.assert_close(mixed[:, :3], plain[[1, 3], :3])  # words are at each half's end half way
    torch.testing.assert_close(mixed[:, 3:], plain[[0, 2], 3:])


def test_a_target_that_says_what_the_source_says_changes_nothing_first(
    texts: tuple[Conditioning, Conditioning, Conditioning],
) -> None:
    fitted, source, _ = texts
    mixed = difference_first(fitted, source, source, [0.0, 0.3, 0.5], 3, 2.0).tensors["sequence"]
    torch.testing.assert_close(mixed, fitted.tensors["sequence"].expand(3, -1, -1))


def test_texts_of_different_lengths_meet() -> None:
    """Families with as many tokens as words fill the shorter with zeros."""
    short, longer = (Conditioning({"sequence": torch.ones(1, length, 2)}, frozenset({"sequence"})) for length in (2, 3))
    fitted = Conditioning({"sequence": torch.full((1, 2, 2), 5.0)}, frozenset({"sequence"}))
    mixed = difference_first(fitted, short, longer, [0.0, 0.5, 1.0], None, 1.0).tensors["sequence"]
    assert mixed[..., 0].tolist() == [[5, 5, 0], [5, 5, 1], [1, 1, 1]]
    mixed = difference_first(fitted, short, short, [0.5, 1.0], None, 1.0).tensors["sequence"]
    assert mixed[..., 0].tolist() == [[5, 5], [1, 1]]
    longer_fit = Conditioning({"sequence": torch.full((1, 3, 2), 5.0)}, frozenset({"sequence"}))
    mixed = difference_first(longer_fit, longer, short, [0.0, 0.5, 1.0], None, 1.0).tensors["sequence"]
    assert mixed[..., 0].tolist() == [[5, 5, 5], [5, 5, 4], [1, 1, 0]]


@pytest.mark.parametrize("chosen", [None, 4.0])
def test_a_source_text_chooses_the_mixture_and_its_guidance(
    texts: tuple[Conditioning, Conditioning, Conditioning], chosen: float | None
) -> None:
    fitted, source, target = texts
    without = Fitted(torch.zeros(1, 1, 2, 2), fitted, target, target, None, None, "")
    having = replace(without, source=source)
    plain = fitted.lerp(target, 0.5).tensors["sequence"]
    first = difference_first(*texts, [0.5], None, 1.0).tensors["sequence"]

    def mixed(given: Fitted, mixing: str) -> tuple[bool, bool, float]:
        values = {"mixing": mixing, "words_lead": 1.0, "guidance_scale": chosen}
        options = build_options(EditOptions, values).settled(given.source is not None)
        found = given.mixed([0.5], options).tensors["sequence"]
        return torch.equal(found, plain), torch.equal(found, first), options.guidance(1.0)

    usual, strong = chosen or 3.0, chosen or 5.0
    assert mixed(without, "automatic") == mixed(without, "lerp") == mixed(having, "lerp") == (True, False, usual)
    assert mixed(having, "automatic") == mixed(having, "difference") == (False, True, strong)
    with pytest.raises(OptionError, match="needs a source text"):
        mixed(without, "difference")


def test_an_edit_begins_with_the_difference() -> None:
    """At eta 1/2 the target's asked channel is there, and what the fit found beyond the source is too."""
    state = fitted_state(e_opt=(0.1, 0.6, -0.3), source=(0.0, 1.0, -0.5))
    values = {"etas": [0.5, 1.0], "guidance_scale": 1.0, "num_steps": 5, "words_lead": 1.0}
    _, result = finish(Imagic().edit(Answers(), state, build_options(EditOptions, values), (0,)))
    halfway = (1 - (1 - 1.1) ** 2, 0.6**2, -0.3)
    assert result.chosen[0].image[:, 0, 0].tolist() == pytest.approx(halfway, abs=1e-4)
    assert result.chosen[1].image[:, 0, 0].tolist() == pytest.approx((1, 1, -0.5), abs=1e-4)


def test_projection_adds_only_what_the_target_has_beyond_the_source() -> None:
    """Per token: what is added is orthogonal to the source, and with it spans the target."""
    source = conditioning((3.0, 4.0, 0.0))
    target = conditioning((3.0, 0.0, 2.0))
    mixed = project(source, target, 0.9, torch.tensor([0.0, 1.0, 1.5])).tensors["sequence"]
    # (target . u) u = 9 / 5 (0.6, 0.8, 0), hence the edit (1.92, -1.44, 2).
    edit_direction = torch.tensor([1.92, -1.44, 2.0])
    expected = torch.stack([0.9 * source.tensors["sequence"][0] + push * edit_direction for push in (0, 1, 1.5)])
    torch.testing.assert_close(mixed, expected)


def test_projection_is_scaled_by_eta() -> None:
    values = {"etas": [0.0, 0.4], "mixing": "projection", "push": 1.5, "identity": 0.8}
    settings = build_options(EditOptions, {**values, "guidance_scale": 1.0, "num_steps": 5})
    _, result = finish(Imagic().edit(Answers(), fitted_state(e_opt=(0.0, 0.0, -0.5)), settings, (0,)))
    # u = (0, 0, -1): the edit is the target without its last number, (1, 1, 0), here times 0.4 * 1.5.
    expected = (1 - (1 - 0.6) ** 2, 0.6**2, -0.4)
    assert result.chosen[0].image[:, 0, 0].tolist() == pytest.approx((0, 0, -0.4), abs=1e-4)
    assert result.chosen[1].image[:, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)
