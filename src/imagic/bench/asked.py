"""What a run was asked for, in plain values, so that workers elsewhere can open the same suite, methods and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imagic import api
from imagic.batch.work import Opening
from imagic.bench import catalogue, suites
from imagic.bench.measures import open_measures
from imagic.bench.trials import Trial, trials_of
from imagic.bench.types import Suite
from imagic.bench.work import Trials
from imagic.metrics import weights


@dataclass(frozen=True)
class Asked:
    """The options of `imagic bench run`. data: a path, or "". metric_weights: NAME=PATH each. model: the arguments of
    api.load_model. Paths may be relative: workers stand in the same folder."""

    out: str
    suite: str
    methods: Sequence[str]
    limit: int | None = None
    data: str = ""
    target_text: str = ""
    source_text: str = ""
    seed: int = 0
    preset: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] = field(default_factory=dict)
    sweep: Sequence[float] = ()
    metrics: Sequence[str] = ()
    metric_weights: Sequence[str] = ()
    model: Mapping[str, Any] = field(default_factory=dict)

    def open_suite(self) -> Suite:
        """Raises OptionError as suites.open_suite."""
        data = Path(self.data) if self.data else None
        return suites.open_suite(
            self.suite, self.limit, data=data, target_text=self.target_text, source_text=self.source_text
        )

    def trials(self) -> list[Trial]:
        """Raises OptionError as catalogue.entries and trials_of."""
        return trials_of(catalogue.entries(self.methods, self.preset, self.fit, self.edit), self.sweep)

    def opening(self) -> Opening:
        """How a worker comes by the work."""
        return Opening("imagic.bench.asked:open_trials", asdict(self))


def open_trials(**values: Any) -> Trials:
    """The work of a run, with the model loaded. Raises as Asked, Trials, measures.open_measures and api.load_model."""
    asked = Asked(**values)
    suite, trials = asked.open_suite(), asked.trials()
    measures = open_measures(asked.metrics, weights.parse(asked.metric_weights))
    return Trials(Path(asked.out), suite, trials, api.load_model(**asked.model), asked.seed, measures)
