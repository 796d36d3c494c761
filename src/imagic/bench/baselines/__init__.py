"""Methods that serve comparisons alone: copying keeps everything, generating keeps nothing, and an ablation of DiffEdit
that is no choice of its options."""

from __future__ import annotations

from imagic.bench.baselines.copy import Copy
from imagic.bench.baselines.diffedit_no_encode import DiffEditNoEncode
from imagic.bench.baselines.generate import Generate
from imagic.core.types import Method

BASELINES: dict[str, type[Method]] = {each.name: each for each in (Copy, Generate, DiffEditNoEncode)}
