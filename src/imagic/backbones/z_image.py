"""Z-Image (Alibaba 2025): rectified flow over one stream of picture and text, which the language model Qwen3 reads.

A text has as many tokens as it needs, and a row of a batch as many as its longest text: a token of zeros is none, and
the network does not get it. The network norms every token before it does anything else, so the bundle has them normed:
Qwen3's first token is orders of magnitude larger than the others and would set a learning rate for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Qwen2Tokenizer, Qwen3Model

from imagic.backbones.autoencoder import Autoencoder
from imagic.backbones.fingerprint import fingerprint, part_facts, settings
from imagic.backbones.flow import FlowGrid
from imagic.backbones.network import NetworkBackbone, check_channels
from imagic.backbones.placement import Place
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import Layout, read_parts
from imagic.backbones.words import report_text
from imagic.core.conditioning import Conditioning
from imagic.core.errors import ModelError
from imagic.core.noise import Prediction
from imagic.core.types import Ability, TextReport

if TYPE_CHECKING:
    from diffusers import ZImagePipeline

# No config holds these: the tokens that the pipeline reads at most, its side in latents, and the side of a patch.
TEXT_LENGTH = 512
SIDE = 128
PATCH = 2
# The network's time runs from 0 at noise to 1 at the picture.
TIME = 1000
# Stands for a text, to find what the template puts before it.
MARK = "\ufffc"

LAYOUT = Layout(
    "ZImagePipeline",
    "transformer",
    {
        "transformer": ZImageTransformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": Qwen3Model,
        "tokenizer": Qwen2Tokenizer,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    },
)


def load(plan: LoadPlan) -> ZImageBackbone:
    """The entry point of the family, see backbones.loading."""
    return ZImageBackbone(plan.name, **read_parts(plan, LAYOUT), **plan.placement())


class ZImageBackbone(NetworkBackbone):
    """core.types.Backbone over diffusers' models. A text's bundle: `sequence` (B, L, D), learnable, of tokens with RMS
    1 and, after a row's last one, zeros."""

    part = LAYOUT.network

    def __init__(
        self,
        name: str,
        transformer: ZImageTransformer2DModel,
        vae: AutoencoderKL,
        text_encoder: Qwen3Model,
        tokenizer: Qwen2Tokenizer,
        scheduler: Any,
        *,
        side: int = SIDE,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        """Takes the components over: they are moved, cast to dtype, frozen and set to eval mode.

        scheduler: one of flow; only its config is used. side: of the picture, in latents. device, dtype, offload: see
        backbones.placement; dtype None is the device's default. autocast: a lower precision in which the transformer
        multiplies while it is fitted. Raises ModelError for another kind of model, or a tokenizer without a template.
        """
        check_channels(name, transformer, vae.config["latent_channels"])
        if not tokenizer.chat_template:
            raise ModelError(f"The tokenizer of the model '{name}' has no chat template: get its whole folder.")
        networks = {"transformer": transformer, "vae": vae, "text_encoder": text_encoder}
        grid = FlowGrid(scheduler, (side // PATCH) ** 2, even=True)
        self.fingerprint = fingerprint(
            networks,
            part_facts(networks)
            | {
                "scheduler": settings(grid.config, FlowMatchEulerDiscreteScheduler),
                "vocabulary": tokenizer.get_vocab(),
                "template": tokenizer.chat_template,
            },
        )
        self._place = Place.of(transformer, device, dtype, offload)
        self._place.settle(text_encoder)
        super().__init__(name, transformer, Autoencoder(vae, self._place), grid, self._place, autocast)
        self.transformer, self.text_encoder, self.tokenizer = transformer, text_encoder, tokenizer
        self.prediction = Prediction.FLOW
        self.abilities = frozenset({Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION})
        self.image_size = self._pictures.factor * side
        self.size_multiple = self._pictures.factor * PATCH

    @classmethod
    def from_pipeline(cls, pipeline: ZImagePipeline, *, name: str, **placement: Any) -> ZImageBackbone:
        """A loaded pipeline's components, taken over. placement: as for the class, `side` among it."""
        return cls(name, **{part: getattr(pipeline, part) for part in LAYOUT.classes}, **placement)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        with self._place.using(self.text_encoder):
            sequence = pad_sequence([self._tokens(text) for text in texts], batch_first=True)
        return Conditioning({"sequence": sequence}, learnable=frozenset({"sequence"}))

    def pipeline_inputs(self, conditioning: Conditioning) -> Mapping[str, Tensor]:
        """The pipeline takes a list of these rows."""
        sequence = conditioning.tensors["sequence"]
        return {"prompt_embeds": sequence[:, : max(_lengths(sequence))]}

    def report_text(self, text: str) -> TextReport:
        before, _, _ = self._prompt(MARK).partition(MARK)
        return report_text(self.tokenizer, text, TEXT_LENGTH - len(self.tokenizer(before).input_ids))

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        sequence = conditioning.tensors["sequence"].to(self.device)
        with self._precision() as dtype:
            rows: Sequence[Tensor] = self.transformer(
                list(z.to(self.device, dtype).unsqueeze(2)),  # a video of one frame
                (TIME - timestep.to(self.device)) / TIME,
                [row[:length].to(dtype) for row, length in zip(sequence, _lengths(sequence), strict=True)],
                return_dict=False,
            )[0]
        return -torch.stack(list(rows)).squeeze(2).float()

    def _prompt(self, text: str) -> str:
        """What the pipeline gives the language model to read."""
        turn = [{"role": "user", "content": text}]
        return str(
            self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=True)
        )

    def _tokens(self, text: str) -> Tensor:
        """(L, D), float32, each of RMS 1. What follows a token has no effect on it: there is no need for padding."""
        ids = self.tokenizer(self._prompt(text), truncation=True, max_length=TEXT_LENGTH, return_tensors="pt").input_ids
        hidden = self.text_encoder(ids.to(self.device), output_hidden_states=True, use_cache=False).hidden_states[-2]
        return F.rms_norm(hidden[0].float(), hidden.shape[-1:])


def _lengths(sequence: Tensor) -> list[int]:
    """The tokens of each row that are not zeros."""
    lengths: list[int] = sequence.detach().any(-1).sum(1).tolist()
    return lengths
