"""Text2LIVE: Text-Driven Layered Image and Video Editing (Bar-Tal et al., ECCV 2022), for images.

No diffusion model takes part. A small network is trained on the one input until the layer that it paints, laid over the
input by its opacity, satisfies CLIP: C = A E + (1 - A) x. Looks change, shapes and places do not.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from imagic.core.encoder import BUNDLED, Encoder, open_encoder
from imagic.core.errors import OptionError, StateError
from imagic.core.options import option
from imagic.core.seeds import derive, generator
from imagic.core.types import Ability, Backbone, Candidate, EditResult, FitRequest, Progress, State
from imagic.methods import _common as common
from imagic.methods import _text2live_losses as losses
from imagic.methods._edit_layer import LayerGenerator
from imagic.methods._madgrad import Madgrad

CROP_COVER = 0.85  # the authors' smallest crop of the input, and its chance of being mirrored
FLIP = 0.5
VIEW_COVER = 0.8  # the smallest crop that CLIP sees


@dataclass(frozen=True)
class Text2LIVEFit:
    """How the layer is trained. Weights of losses, rate and decay are the authors'; steps, views and the generator's
    size are a fraction of theirs, which the preset `paper` has."""

    encoder: str = option(BUNDLED, "The CLIP: 'menagerie', the one that ships, or a folder of transformers' CLIPModel.")
    num_steps: int = option(200, "Training steps of the layer's network.", minimum=1, maximum=100_000)
    views: int = option(4, "Random crops that CLIP sees of each picture and step.", minimum=1, maximum=256)
    width: int = option(32, "Channels of the layer's network, a multiple of 4.", minimum=4, maximum=1024)
    scales: int = option(5, "Halvings of the side in that network.", minimum=1, maximum=10)
    learning_rate: float = option(2.5e-3, "MADGRAD's rate at the first step.", minimum=0.0, maximum=1.0)
    decay: float = option(0.99, "The rate's factor from step to step.", minimum=0.0, maximum=1.0)
    least_rate: float = option(1e-5, "The rate falls no lower.", minimum=0.0, maximum=1.0)
    screen_text: str = option("{} over a green screen", "Describes the layer alone; {} stands for the target text.")
    region_text: str = option("", "Names the part of the input to change; empty: the source text.")
    composition_weight: float = option(1.0, "Weight: the result agrees with the text.", minimum=0.0, maximum=1e4)
    screen_weight: float = option(1.0, "Weight: the layer on a green screen agrees with it.", minimum=0.0, maximum=1e4)
    structure_weight: float = option(2.0, "Weight: the input's self-similarity is kept.", minimum=0.0, maximum=1e4)
    sparsity_weight: float = option(6.0, "Weight: little is covered.", minimum=0.0, maximum=1e4)
    l1_weight: float = option(0.01, "Sparsity: share of the mean opacity.", minimum=0.0, maximum=1e4)
    l0_weight: float = option(0.01, "Sparsity: share of the covered pixels.", minimum=0.0, maximum=1e4)
    region_weight: float = option(
        10.0,
        "Weight at first, evenly falling to 0: the opacity is where CLIP finds the region.",
        minimum=0.0,
        maximum=1e4,
    )

    def __post_init__(self) -> None:
        if self.width % 4:
            raise OptionError(f"The width must be a multiple of 4, not {self.width}.")

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        return max(self.learning_rate * self.decay**step, min(self.least_rate, self.learning_rate))


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "fast": MappingProxyType({}),
        "paper": MappingProxyType({"num_steps": 1000, "views": 16, "width": 128, "scales": 7}),
    }
)


@dataclass(frozen=True)
class Text2LIVEEdit(common.StrengthOptions):
    """How the layer is laid over the input."""

    strength: float = option(
        1.0,
        "The layer's opacity counts so much: 0 gives the input back, 1 is the layer as trained.",
        minimum=0.0,
        maximum=1.0,
    )


class Text2LIVE:
    """The method `text2live`, see the head of this file."""

    name: ClassVar[str] = "text2live"
    paper: ClassVar[str] = "Bar-Tal et al., Text2LIVE: Text-Driven Layered Image and Video Editing, ECCV 2022"
    needs: ClassVar[frozenset[Ability]] = frozenset()
    texts: ClassVar[tuple[str, ...]] = ("target_text", "source_text")
    FitOptions: ClassVar[type] = Text2LIVEFit
    EditOptions: ClassVar[type] = Text2LIVEEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def fit(self, backbone: Backbone, request: FitRequest, options: Text2LIVEFit) -> Generator[Progress, None, State]:
        """Train the layer for the request's texts and seed; the state serves no other.

        The backbone only says where the work is done. Raises TextError for an empty target or source, NotAvailable
        without the encoder, OptionError on divergence.
        """
        common.check_fit(self, backbone, request)
        encoder = open_encoder(options.encoder, backbone.device)
        image = request.image.to(backbone.device)
        layer, opacity = yield from _train(encoder, image, request, options)
        tensors = {"image": request.image.cpu(), "layer": layer.cpu(), "opacity": opacity.cpu()}
        return State(self.name, tensors, common.facts(backbone, request, options))

    def edit(
        self, backbone: Backbone, state: State, options: Text2LIVEEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Each strength; nothing is drawn, so that all seeds give the same. At strength 0 the input, bit for bit.

        Raises StateError when the state is another model's.
        """
        common.check_edit(self, backbone, state, seeds)
        try:
            image, layer, opacity = (state.tensors[name] for name in ("image", "layer", "opacity"))
            _ = state.facts["target_text"], state.facts["source_text"]
        except KeyError as error:
            raise StateError(f"The state is damaged ({error} is missing): fit again.") from error
        images = {each: losses.composite(image, layer, each * opacity)[0] for each in options.asked}
        yield Progress("compose", 1, 1)
        chosen = [Candidate(images[each], each, seed) for seed in seeds for each in options.asked]
        return EditResult(chosen=chosen, reconstruction=image[0])


def _train(
    encoder: Encoder, image: Tensor, request: FitRequest, options: Text2LIVEFit
) -> Generator[Progress, None, tuple[Tensor, Tensor]]:
    """The layer (1, 3, H, W) and its opacity (1, 1, H, W) after training."""
    try:
        screen_text = options.screen_text.format(request.target_text)
    except (IndexError, KeyError, ValueError) as error:
        raise OptionError("screen_text takes {} for the target text, and no other braces.") from error
    wanted = losses.Wanted.of(encoder, request.target_text, screen_text, request.source_text)
    region = encoder.relevance(image, options.region_text or request.source_text).detach()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(request.seed, "text2live/network"))
        network = LayerGenerator(options.width, options.scales).to(image.device)
    noise = generator(derive(request.seed, "text2live/views"))
    stage = request.checkpoint.stage("train")
    if "generator" in stage.tensors:
        noise.set_state(stage.tensors["generator"])
    optimiser = Madgrad(network.parameters(), stage)
    for step in range(stage.step, options.num_steps):
        fade = 1 - (step + 1) / options.num_steps
        with torch.enable_grad():
            values = _losses(encoder, network, image, region, wanted, fade, options, noise)
            loss = torch.stack(list(values.values())).sum()
        if not math.isfinite(float(loss.detach())):
            raise OptionError(f"The training diverged at step {step + 1}: use a lower learning rate.")
        loss.backward()  # type: ignore[no-untyped-call]
        stage.changing()
        optimiser.step(options.rate(step))
        finished = step + 1 == options.num_steps
        stage.reached(step + 1, {"generator": noise.get_state()}, finished=finished)
        shown = {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in values.items()}}
        yield Progress("train", step + 1, options.num_steps, shown)
    with torch.no_grad():
        layer, opacity = network(image)
    return layer, opacity


def _losses(
    encoder: Encoder,
    network: LayerGenerator,
    image: Tensor,
    region: Tensor,
    wanted: losses.Wanted,
    fade: float,
    options: Text2LIVEFit,
    noise: torch.Generator,
) -> dict[str, Tensor]:
    """The weighted losses of one random crop of the input. region: (1, 1, H, W) in [0, 1]; fade: of its weight."""
    crop = losses.views(torch.cat([image, region], dim=1), 1, CROP_COVER, FLIP, noise)
    before, region = crop[:, :3], crop[:, 3:]
    layer, opacity = network(before)
    after = losses.composite(before, layer, opacity)
    both = losses.views(
        torch.cat([before, after, losses.on_screen(layer, opacity)]), options.views, VIEW_COVER, 0.0, noise
    )
    # Views of one crop stand together: the input, the result, the layer on its screen.
    seen_before, seen_after, seen_screen = encoder.embed_images(both).reshape(options.views, 3, -1).unbind(1)
    agreement = losses.distance(seen_after, wanted.target) + losses.direction(seen_before, seen_after, wanted)
    with torch.no_grad():
        patches = encoder.tokens(before)
    return {
        "composition": options.composition_weight * agreement,
        "screen": options.screen_weight * losses.distance(seen_screen, wanted.screen),
        "structure": options.structure_weight * losses.structure(patches, encoder.tokens(after)),
        "sparsity": options.sparsity_weight * losses.sparsity(opacity, options.l1_weight, options.l0_weight),
        "region": options.region_weight * fade * (opacity - region).square().mean(),
    }
