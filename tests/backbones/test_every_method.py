"""Methods know no family: each works on every one that has the abilities it needs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from imagic.core import registry
from imagic.core.errors import AbilityError
from imagic.core.options import build_options
from imagic.core.seeds import generator
from imagic.core.types import FitRequest
from tests.backbones.conftest import FAMILIES, Family
from tests.backbones.test_families import TEXT, run
from tests.metrics.tiny import clip_folder

# As little work as each method allows. UniTune names SD's cross-attention unless told otherwise.
LITTLE: dict[str, Any] = {
    "num_steps": 3,
    "embedding_steps": 1,
    "network_steps": 1,
    "steps": 1,
    "parts": ("attn", "attention"),
}
LITTLE |= {"candidates": 3, "refine": 0, "search_steps": 2, "agreement_pairs": 1, "measured_pairs": 1, "num_pairs": 1}
DIFFERENT = [each for each in FAMILIES if each.name in ("sdxl", "if", "sd3", "flux", "z-image")]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny CLIP."""
    folder = tmp_path_factory.mktemp("clip")
    clip_folder(folder)
    return str(folder)


@pytest.mark.parametrize("name", registry.names(registry.Group.METHODS))
@pytest.mark.parametrize("family", DIFFERENT, ids=lambda each: each.name)
def test_it_works_or_says_what_is_missing(family: Family, name: str, encoder: str) -> None:
    backbone, method = family.backbone(), registry.method(name)
    image = torch.rand(1, 3, 16, 16, generator=generator(0)) * 2 - 1
    request = FitRequest(image, TEXT, "a photo of a standing dog")

    def little(kind: type) -> Any:
        names = {field.name for field in dataclasses.fields(kind)}
        values = {**LITTLE, "encoder": encoder}
        return build_options(kind, {name: value for name, value in values.items() if name in names})

    if method.needs - backbone.abilities:
        with pytest.raises(AbilityError):
            run(method.fit(backbone, request, little(method.FitOptions)))
        return
    state = run(method.fit(backbone, request, little(method.FitOptions)))
    [candidate] = run(method.edit(backbone, state, little(method.EditOptions), [0])).chosen
    assert candidate.image.shape == (3, 16, 16)
    assert torch.isfinite(candidate.image).all()
