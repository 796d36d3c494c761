"""Stable Diffusion (Rombach et al. 2022) and every model in its pipeline layout, the bundled one included.

A latent diffusion model: AutoencoderKL, a CLIP text encoder, a cross-attention UNet. Noise levels, prediction kind, VAE
scale and text length are read from the checkpoint's own configs. There is no safety checker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from imagic.backbones import weights
from imagic.backbones.fingerprint import fingerprint, settings
from imagic.backbones.words import report_text
from imagic.core.conditioning import Conditioning
from imagic.core.errors import ModelError, OptionError
from imagic.core.noise import NoiseLevels, Prediction
from imagic.core.types import Ability, Backbone, TextReport, Tuning, TuningPlan, WeightChange

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

_PREDICTIONS = {"epsilon": Prediction.EPS, "v_prediction": Prediction.V, "sample": Prediction.X0}


def load(
    folder: Path, *, name: str, device: torch.device, dtype: torch.dtype, autocast: torch.dtype | None
) -> StableDiffusionBackbone:
    """The entry point of the family, see backbones.loading."""
    return StableDiffusionBackbone.from_folder(folder, name=name, device=device, dtype=dtype, autocast=autocast)


class StableDiffusionBackbone(Backbone):
    """core.types.Backbone over diffusers' models. From a folder, a pipeline, or components."""

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: Any,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
    ) -> None:
        """Takes the components over: they are moved, cast to dtype, frozen and set to eval mode.

        scheduler: any diffusers scheduler; only its config is used. autocast: a lower precision in which the UNet
        multiplies (its weights stay in dtype); None for none.
        Raises ModelError for a checkpoint that is not plain text-to-image Stable Diffusion.
        """
        grid = DDIMScheduler.from_config(scheduler.config)
        kind = grid.config["prediction_type"]
        if kind not in _PREDICTIONS:
            raise ModelError(f"The model '{name}' predicts '{kind}', which no Stable Diffusion model is known to do.")
        if unet.config["in_channels"] != vae.config["latent_channels"]:
            raise ModelError(
                f"The model '{name}' is not a text-to-image model: its UNet takes {unet.config['in_channels']}"
                f" channels, its latents have {vae.config['latent_channels']}."
            )
        self.name = name
        self.prediction = _PREDICTIONS[kind]
        self.abilities = frozenset(
            {Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION, Ability.CROSS_ATTENTION}
        )
        self.device, self.dtype, self.autocast = torch.device(device), dtype, autocast
        self.levels = _levels(grid.alphas_cumprod, torch.arange(len(grid.alphas_cumprod)))
        vae_factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        side = unet.config["sample_size"]
        self.image_size = vae_factor * (side if isinstance(side, int) else max(side))
        self.size_multiple = vae_factor * 2 ** (len(unet.config["block_out_channels"]) - 1)
        self.fingerprint = fingerprint(
            {"unet": unet, "vae": vae, "text_encoder": text_encoder},
            {
                "unet": settings(unet.config, UNet2DConditionModel),
                "vae": settings(vae.config, AutoencoderKL),
                "text_encoder": _text_settings(text_encoder),
                "scheduler": settings(grid.config, DDIMScheduler),
                "vocabulary": tokenizer.get_vocab(),
                "text_length": _text_length(tokenizer, text_encoder),
            },
        )
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self._grid = grid
        self._use = ""  # what holds the weights now: "tuning", "change" or nothing
        for module in (unet, vae, text_encoder):
            module.to(self.device)
            if module.dtype != dtype:
                module.to(dtype)
            module.requires_grad_(False).eval()

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        name: str = "",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
    ) -> StableDiffusionBackbone:
        """A local folder in StableDiffusionPipeline layout; reads safetensors and JSON only, and no network.

        Raises ModelError when a part is missing or damaged.
        """
        # Loaded as float32, which holds every stored precision exactly, so that the fingerprint sees the checkpoint.
        local = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
        try:
            with _no_progress_bars():
                unet = _complete(
                    UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32, **local)
                )
                vae = _complete(AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, **local))
                text_encoder = _complete(
                    CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, **local)
                )
                tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
                scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"'{folder}' could not be loaded as a Stable Diffusion model: {reason}") from error
        return cls(
            name or folder.name,
            unet,
            vae,
            text_encoder,
            tokenizer,
            scheduler,
            device=device,
            dtype=dtype,
            autocast=autocast,
        )

    @classmethod
    def from_pipeline(
        cls,
        pipeline: StableDiffusionPipeline,
        *,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
    ) -> StableDiffusionBackbone:
        """A loaded pipeline's components, taken over."""
        return cls(
            name,
            pipeline.unet,
            pipeline.vae,
            pipeline.text_encoder,
            pipeline.tokenizer,
            pipeline.scheduler,
            device=device,
            dtype=dtype,
            autocast=autocast,
        )

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(image.to(self.device, self.dtype)).latent_dist.mean
        z: Tensor = (mean.float() - self._shift) * self.vae.config["scaling_factor"]
        return z

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        unscaled = z / self.vae.config["scaling_factor"] + self._shift
        image: Tensor = self.vae.decode(unscaled.to(self.device, self.dtype)).sample
        return image.float().clamp(-1, 1)

    @property
    def _shift(self) -> float:
        return float(self.vae.config["shift_factor"] or 0)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        tokens = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=_text_length(self.tokenizer, self.text_encoder),
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        # Stable Diffusion lets the text attend to its padding, unless the encoder's config says otherwise.
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        mask = tokens.attention_mask if masked else None
        sequence: Tensor = self.text_encoder(tokens.input_ids, attention_mask=mask)[0]
        return Conditioning({"sequence": sequence.float()}, learnable=frozenset({"sequence"}))

    def report_text(self, text: str) -> TextReport:
        return report_text(self.tokenizer, text, _text_length(self.tokenizer, self.text_encoder))

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        # Tuned weights are float32 beside frozen ones in dtype: autocast brings them together in dtype.
        lower = self.autocast or (self.dtype if self._use == "tuning" and self.dtype != torch.float32 else None)
        dtype = torch.float32 if lower else self.dtype
        with torch.autocast(self.device.type, dtype=lower, enabled=lower is not None):
            output: Tensor = self.unet(
                z.to(self.device, dtype),
                timestep.to(self.device),
                encoder_hidden_states=conditioning.tensors["sequence"].to(self.device, dtype),
                return_dict=False,
            )[0]
        return output.float()

    def schedule(self, num_steps: int) -> NoiseLevels:
        """Raises OptionError for fewer than one step, or more than the checkpoint's spacing can place."""
        limit = len(self.levels)
        if not 1 <= num_steps <= limit:
            raise OptionError(f"The number of steps must lie between 1 and {limit}, not {num_steps}.")
        self._grid.set_timesteps(num_steps)
        # Trailing spacing can round to one level too many, at the clean end.
        timesteps = self._grid.timesteps[:num_steps]
        if int(timesteps.max()) >= limit:
            raise OptionError(f"The model '{self.name}' has no grid of {num_steps} steps; ask for fewer.")
        alphas_cumprod = torch.cat([self._grid.alphas_cumprod[timesteps], self._grid.final_alpha_cumprod.reshape(1)])
        return _levels(alphas_cumprod, torch.cat([timesteps, timesteps.new_zeros(1)]))

    @contextmanager
    def tuning(self, plan: TuningPlan) -> Iterator[Tuning]:
        with self._taken("tuning"), weights.tune(self.unet, plan) as tuning:
            yield tuning

    @contextmanager
    def changed(self, change: WeightChange | None, scale: float = 1.0) -> Iterator[None]:
        with self._taken("change"), weights.apply(self.unet, change, scale):
            yield

    @contextmanager
    def _taken(self, use: str) -> Iterator[None]:
        if self._use:
            raise RuntimeError(f"the weights are already in use by a {self._use}: leave that context first")
        self._use = use
        try:
            yield
        finally:
            self._use = ""

    def upper_stages(self) -> Sequence[Backbone]:
        return ()


def _complete(loaded: tuple[Any, dict[str, Any]]) -> Any:
    """The model, if its file had every tensor: the libraries fill missing ones with random numbers and go on."""
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"the file of {type(model).__name__} lacks {len(missing)} tensors, {missing[0]} among them")
    return model


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """transformers draws a bar for each model it loads; a library's callers decide what is shown."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _levels(alphas_cumprod: Tensor, timesteps: Tensor) -> NoiseLevels:
    alphas_cumprod = alphas_cumprod.double()
    return NoiseLevels(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt(), timesteps)


def _text_length(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> int:
    """Tokens per text, marks included. A tokenizer saved without a limit claims to have none."""
    return int(min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings))


def _text_settings(text_encoder: CLIPTextModel) -> dict[str, Any]:
    """The text encoder's settings that differ from their defaults, without those that say how it was saved."""
    written = {"transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path"}
    return {name: value for name, value in text_encoder.config.to_diff_dict().items() if name not in written}
