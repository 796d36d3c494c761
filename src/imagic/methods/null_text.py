"""Null-text Inversion for Editing Real Images using Guided Diffusion Models (Mokady et al., CVPR 2023).

Prompt-to-Prompt on a real photograph: the empty embedding of each step is tuned until guided sampling renders the
input, and the edit begins from there. Its two cheap relatives, negative-prompt and direct inversion, are a choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imagic.core.options import option
from imagic.core.types import Ability
from imagic.methods._inversions import KINDS, InversionOptions
from imagic.methods.prompt_to_prompt import PromptToPrompt


@dataclass(frozen=True)
class NullTextFit(InversionOptions):
    """As for Prompt-to-Prompt, with the paper's own inversion."""

    inversion: str = option("null_text", "See prompt_to_prompt.", choices=KINDS)


class NullText(PromptToPrompt):
    """The method `null_text`, see the head of this file."""

    name: ClassVar[str] = "null_text"
    paper: ClassVar[str] = (
        "Mokady et al., Null-text Inversion for Editing Real Images using Guided Diffusion Models, CVPR 2023"
    )
    needs: ClassVar[frozenset[Ability]] = PromptToPrompt.needs | {Ability.TEXT_GRADIENT}
    FitOptions: ClassVar[type] = NullTextFit
