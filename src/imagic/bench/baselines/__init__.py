"""Two methods that do not edit, to check a judge and a suite: copying keeps everything, generating keeps nothing."""

from __future__ import annotations

from imagic.bench.baselines.copy import Copy
from imagic.bench.baselines.generate import Generate
from imagic.core.types import Method

BASELINES: dict[str, type[Method]] = {Copy.name: Copy, Generate.name: Generate}
