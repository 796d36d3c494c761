"""The CLIP metrics by the small CLIP that ships, which knows the menagerie and nothing else.

Their figures compare with each other and with no figure of another CLIP, hence names of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imagic.metrics.clip_directional import CLIPDirectional
from imagic.metrics.clip_image import CLIPImage
from imagic.metrics.clip_score import CLIPScore
from imagic.metrics.extractors import CLIPFeatures

WEIGHTS = "menagerie-clip"


@dataclass(frozen=True)
class MenagerieCLIPScore(CLIPScore):
    """CLIP score by the bundled CLIP."""

    name: ClassVar[str] = "menagerie-clip-score"
    weights_name: ClassVar[str] = WEIGHTS


@dataclass(frozen=True)
class MenagerieCLIPImage(CLIPImage):
    """CLIP image similarity by the bundled CLIP."""

    name: ClassVar[str] = "menagerie-clip-image"
    weights_name: ClassVar[str] = WEIGHTS


@dataclass(frozen=True)
class MenagerieCLIPDirectional(CLIPDirectional):
    """Directional CLIP similarity by the bundled CLIP."""

    name: ClassVar[str] = "menagerie-clip-directional"
    weights_name: ClassVar[str] = WEIGHTS


@dataclass(frozen=True)
class MenagerieCLIPFeatures(CLIPFeatures):
    """The bundled CLIP's image embeddings, of unit length."""

    name: ClassVar[str] = "menagerie-clip"
    weights_name: ClassVar[str] = WEIGHTS
