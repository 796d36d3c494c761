"""Words that run ahead of padding: on bundles made by hand, and on what the bundled model's tokenizer calls words."""

from __future__ import annotations

import pytest
import torch

import imagic
from imagic.core.conditioning import Conditioning
from imagic.core.options import build_options
from imagic.core.types import Ability, Backbone, FitRequest
from imagic.methods._imagic_options import EditOptions, FitOptions
from imagic.methods._imagic_render import Fitted
from imagic.methods.imagic import Imagic
from tests.methods.conftest import finish


def bundle(value: float) -> Conditioning:
    tensors = {
        "sequence": torch.full((1, 4, 2), value),
        "pooled": torch.full((1, 3), value),
        "ids": torch.full((1, 6), 7.0),
    }
    return Conditioning(tensors, frozenset({"sequence", "pooled"}))


def fit(model: Backbone, target: str, source: str = "", start: str = "inversion") -> Fitted:
    values = {"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 0, "inversion_steps": 2, "start": start}
    request = FitRequest(torch.zeros(1, 3, 128, 128), target, source)
    _, state = finish(Imagic().fit(model, request, build_options(FitOptions, values)))
    return Fitted.unpack(model, state, "")


@pytest.fixture(scope="module")
def model() -> Backbone:
    return imagic.load_model("menagerie")


def fitted(source: Conditioning, target: Conditioning, words: int | None) -> Fitted:
    z0 = torch.zeros(1, 1, 2, 2)
    return Fitted(z0, source, target, target, None, None, "", start=z0, words=words)


def lead(value: float) -> EditOptions:
    return build_options(EditOptions, {"words_lead": value})


def test_words_go_at_the_lead_and_stay_at_the_target_while_padding_goes_its_way() -> None:
    mixed = fitted(bundle(0.0), bundle(1.0), 3).mixed([0.0, 0.25, 0.5, 0.75, 1.0, 1.5], lead(2.0))
    assert mixed.tensors["sequence"][:, :3].mean((1, 2)).tolist() == [0, 0.5, 1, 1, 1, 1.5]
    assert mixed.tensors["sequence"][:, 3].mean(1).tolist() == [0, 0.25, 0.5, 0.75, 1, 1.5]
    # What stands for the whole text goes with its words; facts are no part of it.
    assert mixed.tensors["pooled"].mean(1).tolist() == [0, 0.5, 1, 1, 1, 1.5]
    assert (mixed.tensors["ids"] == 7).all()


def test_without_a_lead_it_is_the_papers_interpolation_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    source, target = (
        Conditioning({"sequence": torch.randn(1, 9, 5, generator=generator)}, frozenset({"sequence"})) for _ in range(2)
    )
    weights = torch.rand(7, generator=generator, dtype=torch.float64)
    mixed = fitted(source, target, 4).mixed(weights.tolist(), lead(1.0))
    assert torch.equal(mixed.tensors["sequence"], source.lerp(target, weights).tensors["sequence"])


@pytest.mark.parametrize("ahead", [1.0, 2.0, 100.0])
def test_the_ends_are_the_fitted_and_the_target_text_to_the_bit(model: Backbone, ahead: float) -> None:
    own = fit(model, "a sitting dog")
    ends = own.mixed([0.0, 1.0], build_options(EditOptions, {"words_lead": ahead})).tensors["sequence"]
    assert torch.equal(ends[:1], own.fitted.tensors["sequence"])
    assert torch.equal(ends[1:], own.target.tensors["sequence"])


def test_words_are_what_the_tokenizer_puts_before_its_padding(model: Backbone) -> None:
    # The mark at the start, three words and the mark that ends them; of two texts the longer.
    assert fit(model, "a sitting dog").words == 5
    assert fit(model, "a sitting dog", "a photo of a standing dog").words == 8


def test_fresh_noise_has_the_papers_interpolation(model: Backbone) -> None:
    own, fresh = fit(model, "a sitting dog"), fit(model, "a sitting dog", start="noise")
    halfway = own.fitted.lerp(own.target, 0.5).tensors["sequence"]
    assert not torch.equal(own.mixed([0.5], lead(2.0)).tensors["sequence"], halfway)
    assert torch.equal(fresh.mixed([0.5], lead(2.0)).tensors["sequence"], halfway)


def test_a_model_without_cross_attention_is_not_asked_for_its_tokens(
    model: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "abilities", model.abilities - {Ability.CROSS_ATTENTION})
    assert fit(model, "a sitting dog").words is None
