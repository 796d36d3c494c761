"""The settings of a pipeline's parts with which this package itself computes, and what each of them must be.

Those that only diffusers and transformers use show themselves when a part is built, or tried (backbones.foreign).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from diffusers import AutoencoderKL, ModelMixin, SchedulerMixin
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from imagic.core.errors import ModelError

MOST = 10**6  # of anything that is counted
LONGEST = 60  # characters of a value that are quoted


class Kind(NamedTuple):
    """What a setting must be, in words and as a check."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def _is_list(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(holds, value))


TEXT = Kind("a text", lambda value: isinstance(value, str))
NUMBER = Kind("a number", _is_number)
LIMIT = Kind("a number of at least 1", lambda value: _is_number(value) and value >= 1)
COUNT = Kind(f"a whole number from 1 to {MOST}", _is_count)
COUNTS = Kind("a list of whole numbers", lambda value: _is_list(value, _is_count))
SIDES = Kind("a whole number, or two", lambda value: _is_count(value) or _is_list(value, _is_count))
OPTIONAL = Kind("a number or nothing", lambda value: value is None or _is_number(value))
OPTIONALS = Kind("a list of numbers or nothing", lambda value: value is None or _is_list(value, _is_number))

# The first class that a part is one of says which settings are looked at. One that is not there has its default.
KINDS: Mapping[type, Mapping[str, Kind]] = {
    AutoencoderKL: {
        "block_out_channels": COUNTS,
        "latent_channels": COUNT,
        "scaling_factor": NUMBER,
        "shift_factor": OPTIONAL,
        "latents_mean": OPTIONALS,
        "latents_std": OPTIONALS,
    },
    ModelMixin: {"in_channels": COUNT, "block_out_channels": COUNTS, "sample_size": SIDES, "patch_size": COUNT},
    SchedulerMixin: {
        "num_train_timesteps": COUNT,
        "trained_betas": OPTIONALS,
        "prediction_type": TEXT,
        "timestep_spacing": TEXT,
        "sample_max_value": NUMBER,
        "dynamic_thresholding_ratio": NUMBER,
        "clip_sample_range": NUMBER,
        "base_image_seq_len": COUNT,
        "max_image_seq_len": COUNT,
        "base_shift": NUMBER,
        "max_shift": NUMBER,
    },
    PreTrainedModel: {"max_position_embeddings": COUNT},
    PreTrainedTokenizerBase: {"model_max_length": LIMIT},
}


def check(name: str, owner: type, values: Any) -> None:
    """Raises ModelError for a setting that is not what it must be. name: of the part; owner: its class; values: what
    its file says, or `of` a part."""
    if not isinstance(values, Mapping):
        raise ModelError(f"The settings of the part '{name}' are no JSON object: get the model anew.")
    kinds = next((kinds for each, kinds in KINDS.items() if issubclass(owner, each)), {})
    for setting, kind in kinds.items():
        if setting in values and not kind.holds(values[setting]):
            said = f"{values[setting]!r:.{LONGEST}}"
            raise ModelError(
                f"The setting '{setting}' of '{name}' must be {kind.words}, not {said}: get the model anew."
            )


def of(part: Any) -> Mapping[str, Any]:
    """The settings of a part as it was read, defaults among them."""
    if isinstance(part, PreTrainedTokenizerBase):
        return {"model_max_length": part.model_max_length}
    values: Mapping[str, Any] = part.config.to_dict() if isinstance(part, PreTrainedModel) else part.config
    return values
