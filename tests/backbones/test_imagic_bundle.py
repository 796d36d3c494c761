"""Imagic on every family: each tensor of a text moves by its own size, and eta ends at both texts in each."""

from __future__ import annotations

import pytest
import torch

from imagic.core.options import build_options
from imagic.core.seeds import generator
from imagic.core.types import FitRequest
from imagic.methods._imagic_render import Fitted
from imagic.methods.imagic import Imagic
from tests.backbones.conftest import Family
from tests.backbones.test_families import TEXT, run

RATE = 0.01


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_fit_and_an_edit(family: Family, tuning: str) -> None:
    backbone, method = family.backbone(), Imagic()
    image = torch.rand(1, 3, 16, 16, generator=generator(0)) * 2 - 1
    values = {
        "embedding_steps": 1,
        "embedding_lr": RATE,
        "network_steps": 1,
        "embedding_pairs": 2,
        "network_pairs": 2,
        "measured_pairs": 2,
        "tuning": tuning,
    }
    state = run(method.fit(backbone, FitRequest(image, TEXT), build_options(method.FitOptions, values)))
    target = backbone.encode_text([TEXT])
    fitted = Fitted.unpack(backbone, state, TEXT)
    for name, tensor in target.tensors.items():
        moved, size = (fitted.fitted.tensors[name] - tensor).abs(), tensor.square().mean().sqrt()
        # Adam's first step moves every number by the rate.
        expected = RATE * size if name in target.learnable else torch.zeros(())
        assert torch.allclose(moved.max(), expected, rtol=1e-2), name
        assert torch.equal(fitted.target.tensors[name], tensor)
    options = build_options(method.EditOptions, {"etas": (0.0, 1.0), "num_steps": 2, "guidance_scale": 3.0})
    ends = fitted.mixed([0.0, 1.0], options)
    for row, end in enumerate((fitted.fitted, fitted.target)):
        assert all(torch.equal(ends.tensors[name][row], end.tensors[name][0]) for name in end.tensors)
    chosen = run(method.edit(backbone, state, options, [0])).chosen
    assert [candidate.image.shape for candidate in chosen] == [(3, 16, 16)] * 2
    assert all(torch.isfinite(candidate.image).all() for candidate in chosen)
    assert not torch.equal(chosen[0].image, chosen[1].image)
