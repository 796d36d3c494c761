"""Each method with the guidance and strength that suit the bundled model, found on the menagerie's training scenes.

The defaults of the methods are those of their papers, for models of photographs. Guidance of 7.5 and more overdraws a
picture of this small model, so the papers' own values would compare defaults and not methods. Imagic needs no entry,
since its preset `fast` was tuned on the same scenes, nor Text2LIVE, which has no guidance. Only guidance and strength
were tuned, as docs/benchmarks-menagerie.md says. InstructPix2Pix takes 50 steps, as the others do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from imagic.bench.ablations import Variant

SUFFIX = "-menagerie"


def _tuned(method: str, fit: Mapping[str, Any] | None = None, **edit: Any) -> tuple[str, Variant]:
    return f"{method}{SUFFIX}", Variant(method, fit=fit or {}, edit=edit)


TUNED: Mapping[str, Variant] = MappingProxyType(
    dict(
        (
            _tuned("sdedit", guidance_scale=3.0, strength=0.4),
            _tuned("encode_decode", guidance_scale=3.0, strength=0.7),
            _tuned("ddib", guidance_scale=1.0),
            _tuned("diffedit", guidance_scale=2.0, strength=1.0),
            _tuned("prompt_to_prompt", {"guidance_scale": 1.0}, strength=0.5),
            _tuned("null_text", {"guidance_scale": 2.0}, strength=0.3),
            _tuned("unitune", guidance_scale=5.0, strength=0.6),
            _tuned("cycle_diffusion", guidance_scale=2.0, strength=0.7),
            _tuned("instruct_pix2pix", guidance_scale=1.5, strength=0.5, num_steps=50),
        )
    )
)
