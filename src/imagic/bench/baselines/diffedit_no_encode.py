"""DiffEdit without its encoding (Couairon et al., ICLR 2023, one of its ablations): SDEdit within DiffEdit's mask.

In the place of the inversion stands the input with one noise, the same at all levels; all else is DiffEdit.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar

from imagic.core.masks import into_state
from imagic.core.noise import add_noise
from imagic.core.seeds import initial_noise
from imagic.core.types import Backbone, FitRequest, Progress, State
from imagic.methods import _common as common
from imagic.methods.diffedit import DiffEdit, DiffEditFit


class DiffEditNoEncode(DiffEdit):
    """The fit's seed draws the noise: as with DiffEdit, edits with several seeds differ in their masks alone."""

    name: ClassVar[str] = "diffedit-no-encode"

    def fit(self, backbone: Backbone, request: FitRequest, options: DiffEditFit) -> Generator[Progress, None, State]:
        """Noise the input at every level. Raises as DiffEdit's."""
        common.check_fit(self, backbone, request)
        schedule = backbone.schedule(options.num_steps)
        z0 = backbone.encode(request.image)
        noise = initial_noise(z0.shape[1:], [request.seed], backbone.device)
        trajectory = add_noise(z0, noise, schedule.alpha, schedule.sigma)  # (N + 1, C, h, w)
        yield Progress("noise", 1, 1)
        tensors = {"z0": z0.cpu(), "trajectory": trajectory.cpu()}
        return into_state(State(self.name, tensors, common.facts(backbone, request, options)), request.mask)
