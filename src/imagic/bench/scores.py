"""What a row says about pictures: the verdict, distances, the sweep, and the ceiling that the model sets.

What cannot be known without a true edit is null, with the reason beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from imagic.bench.measures import Measure
from imagic.bench.types import Item, Judge, Pictures
from imagic.bench.verdict import UNKNOWN, Verdict, judge_images
from imagic.core.errors import NotAvailable, OptionError
from imagic.core.frame import Frame
from imagic.core.images import Picture, to_rgb
from imagic.core.types import Backbone, EditResult, Sample
from imagic.metrics.psnr import PSNR
from imagic.metrics.region import Reference, Region
from imagic.metrics.ssim import SSIM

NO_TRUTH = "no truth known"


@dataclass(frozen=True)
class Context:
    """What all methods share on an item.

    roundtrip: the input encoded and decoded, (3, S, S). ceiling: the verdict on the truth encoded and decoded, which no
    method that works in the model's latents can be expected to beat; unknown without a truth.
    """

    item: Item
    pictures: Pictures
    roundtrip: Tensor
    ceiling: Verdict

    @classmethod
    def of(cls, item: Item, pictures: Pictures, backbone: Backbone, judge: Judge | None) -> Context:
        with torch.no_grad():
            known = [image for image in (pictures.source, pictures.truth) if image is not None]
            roundtrip, *rest = backbone.decode(backbone.encode(torch.stack(known)))
            ceilings = judge_images(judge, item, pictures.truth, roundtrip, rest)
        return cls(item, pictures, roundtrip, ceilings[0] if ceilings else UNKNOWN)


def score(
    context: Context, result: EditResult, judge: Judge | None, measures: Sequence[Measure] = ()
) -> dict[str, Any]:
    """The measured part of a row, and the chosen image (3, S, S) under "image". measures: see more in the chosen image.

    Raises OptionError unless the method chose exactly one image.
    """
    if len(result.chosen) != 1:
        raise OptionError(f"A benchmark judges one result per item, not {len(result.chosen)}: ask for one strength.")
    item, chosen = context.item, result.chosen[0]
    delivered = _delivered(context.pictures.source, chosen.image, result.reconstruction)
    images = [chosen.image, delivered, *(each.image for each in result.sweep)]
    with torch.no_grad():
        verdict, finished, *others = judge_images(judge, item, context.pictures.truth, context.roundtrip, images)
    numbers, reasons = _numbers(context, chosen.image, delivered, result.reconstruction, measures)
    if judge is None:
        reasons["success"] = NO_TRUTH
    return {
        "image": chosen.image,
        "eta": chosen.strength,
        "eta_scores": dict(chosen.scores),
        **_parts(verdict),
        "facts": {name: asdict(fact) for name, fact in verdict.facts.items()},
        "delivered": _parts(finished),
        "scores": numbers,
        "not_available": reasons,
        "sweep": [
            {
                "eta": each.strength,
                "seed": each.seed,
                "scores": dict(each.scores),
                "psnr_input": PSNR()(_sample(context, each.image)),
                "psnr_truth": _psnr_truth(_sample(context, each.image)),
                **_parts(other),
            }
            for each, other in zip(result.sweep, others, strict=True)
        ],
        "ceiling": _parts(context.ceiling),
        "warnings": list(result.warnings),
    }


def _delivered(source: Tensor, result: Tensor, reconstruction: Tensor) -> Tensor:
    """The result as a user gets it: its difference to the reconstruction laid over the input, (3, S, S) in [-1, 1]."""
    picture = Picture(to_rgb(source))
    frame = Frame.fit(picture, picture.width)
    rgb = frame.lay_over(picture, result, reconstruction).rgb.copy()
    return torch.from_numpy(rgb).permute(2, 0, 1) / 127.5 - 1


def _parts(verdict: Verdict) -> dict[str, bool | float | None]:
    return {name: getattr(verdict, name) for name in ("success", "asked", "kept", "individual", "likeness")}


def _psnr_truth(sample: Sample) -> float | None:
    return None if sample.truth is None else PSNR(reference=Reference.TRUTH)(sample)


def _sample(context: Context, image: Tensor) -> Sample:
    item, pictures = context.item, context.pictures
    return Sample(
        image=pictures.cut(image.to(pictures.source.device)),
        input=pictures.cut(pictures.source),
        target_text=item.target_text,
        source_text=item.source_text,
        truth=None if pictures.truth is None else pictures.cut(pictures.truth),
        region=None if pictures.mask is None else pictures.cut(pictures.mask),
    )


def _numbers(
    context: Context, image: Tensor, delivered: Tensor, reconstruction: Tensor, more: Sequence[Measure]
) -> tuple[dict[str, float], dict[str, str]]:
    """Distances, and the reasons for those that this item has no answer to.

    "input" is against the input; "kept" is the part outside the mask, against the input; "delivered" the result laid
    over the input; "reconstruction" is the method's own rendering of the input (Imagic's at eta 0), against the input
    and against the input encoded and decoded.
    """
    sample, finished = _sample(context, image), _sample(context, delivered)
    rendered = _sample(context, reconstruction)
    measures: dict[str, Callable[[], float]] = {
        "psnr_truth": lambda: PSNR(reference=Reference.TRUTH)(sample),
        "ssim_truth": lambda: SSIM(reference=Reference.TRUTH)(sample),
        "psnr_input": lambda: PSNR()(sample),
        "psnr_kept": lambda: PSNR(Region.KEPT)(sample),
        "ssim_kept": lambda: SSIM(Region.KEPT)(sample),
        "psnr_delivered_truth": lambda: PSNR(reference=Reference.TRUTH)(finished),
        "psnr_delivered_kept": lambda: PSNR(Region.KEPT)(finished),
        "psnr_roundtrip_input": lambda: PSNR()(_sample(context, context.roundtrip)),
        "psnr_reconstruction_input": lambda: PSNR()(rendered),
        "psnr_reconstruction_roundtrip": lambda: PSNR()(
            replace(rendered, input=_sample(context, context.roundtrip).image)
        ),
        **{each.label: functools.partial(each.metric, sample) for each in more},
    }
    numbers, reasons = {}, {}
    for name, measure in measures.items():
        try:
            numbers[name] = measure()
        except NotAvailable as reason:
            reasons[name] = str(reason)
    return numbers, reasons
