"""Each method with the guidance and strength that suit the bundled model, found on the menagerie's training scenes.

The defaults of the methods are those of their papers, for models of photographs. Guidance of 7.5 and more overdraws a
picture of this small model, so the papers' own values would compare defaults and not methods. Imagic needs no entry,
since its preset `fast` was tuned on the same scenes, nor Text2LIVE, which has no guidance. Only guidance and strength
were tuned, as docs/benchmarks-menagerie.md says. InstructPix2Pix takes 50 steps, as the others do. DiffEdit is tried
without and with the source text, by which it finds better masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from imagic.bench.ablations import Variant

TUNED: Mapping[str, Variant] = MappingProxyType(
    {
        "sdedit-menagerie": Variant("sdedit", edit={"guidance_scale": 3.0}, strength=0.4),
        "encode_decode-menagerie": Variant("encode_decode", edit={"guidance_scale": 3.0}, strength=0.7),
        "ddib-menagerie": Variant("ddib", edit={"guidance_scale": 1.0}),
        "diffedit-menagerie": Variant("diffedit", edit={"guidance_scale": 2.0}, strength=1.0),
        "diffedit-source-menagerie": Variant(
            "diffedit", edit={"guidance_scale": 2.0}, with_source_text=True, strength=1.0
        ),
        "prompt_to_prompt-menagerie": Variant("prompt_to_prompt", fit={"guidance_scale": 1.0}, strength=0.5),
        "null_text-menagerie": Variant("null_text", fit={"guidance_scale": 2.0}, strength=0.3),
        "unitune-menagerie": Variant("unitune", edit={"guidance_scale": 5.0}, strength=0.6),
        "cycle_diffusion-menagerie": Variant("cycle_diffusion", edit={"guidance_scale": 2.0}, strength=0.7),
        "instruct_pix2pix-menagerie": Variant(
            "instruct_pix2pix", edit={"guidance_scale": 1.5, "num_steps": 50}, strength=0.5
        ),
    }
)
