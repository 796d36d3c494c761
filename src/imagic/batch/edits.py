"""The work of an edit: a picture and a text in, a picture out, with the fit kept for the tasks that share it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from imagic import api
from imagic.batch.jobs import Job
from imagic.batch.types import Row, Task, Tell
from imagic.batch.work import Opening, recording
from imagic.core import registry
from imagic.core.errors import OptionError
from imagic.core.images import read_image
from imagic.core.provenance import check_output, portable_model_name
from imagic.core.types import Backbone

if TYPE_CHECKING:
    from imagic.signing import Signer


# The files of a "key" and of its certificates, "cert".
Signing: TypeAlias = Mapping[str, str]


def opening(
    model: Mapping[str, Any], cache: Mapping[str, Any] | None = None, metadata: bool = True,
    signing: Signing | None = None,
) -> Opening:  # fmt: skip
    """How a worker comes by an `Edits`. model: the arguments of api.load_model, plain; cache: of api.Cache, None for
    none. metadata: whether pictures say how they were made; signing: with what they are signed, None for not at all."""
    values = {"model": model, "cache": cache, "metadata": metadata, "signing": signing}
    return Opening("imagic.batch.edits:open_edits", values)


def open_edits(
    model: Mapping[str, Any], cache: Mapping[str, Any] | None, metadata: bool, signing: Signing | None
) -> Edits:
    """Raises an ImagicError as api.load_model."""
    return Edits(api.load_model(**model), None if cache is None else api.Cache(**cache), metadata, signing)


class Edits:
    """Makes pictures with one model. cache: how fits are kept beyond the present group of tasks."""

    def __init__(
        self, backbone: Backbone, cache: api.Cache | None, metadata: bool = True, signing: Signing | None = None
    ) -> None:
        self._backbone, self._cache, self._metadata, self._signing = backbone, cache, metadata, signing
        self._fitted: tuple[str, api.Fit] | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"model": portable_model_name(self._backbone.name), "fingerprint": self._backbone.fingerprint}

    def do(self, task: Task, tell: Tell) -> Row:
        """A row with the seconds of fit and edit, the strength, the warnings, and the model. values: as Results.plan
        makes them; the picture goes to its `place`."""
        row: Row = {"error": None, **self.facts}
        with recording(row):
            row |= self._edit(Job.of_values(task.values["job"]), task.values["fit"], Path(task.values["place"]), tell)
        return row

    def _edit(self, job: Job, key: str, place: Path, tell: Tell) -> Row:
        started = time.monotonic()
        root = Path(job.root)
        picture = read_image(root / job.image)
        check_output(place, picture, overwrite=True)
        method = registry.method(job.method)
        of_fit, of_edit = api.split_options(method, job.options)
        mask = job.mask if job.mask in ("", "auto") else read_image(root / job.mask)
        masked = api.masking(mask or None, method, of_edit, picture, job.crop)
        if self._fitted is None or self._fitted[0] != key:
            self._fitted = None  # two are never held at once
            self._fitted = (
                key,
                api.fit(
                    picture,
                    job.text,
                    model=self._backbone,
                    method=job.method,
                    preset=job.preset,
                    source_text=job.source_text,
                    seed=job.fit_seed,
                    crop=job.crop,
                    options=of_fit,
                    cache=self._cache,
                    on_progress=tell,
                ),
            )
        fitted = self._fitted[1]
        fit_seconds = time.monotonic() - started
        edited = api.edit(
            fitted,
            strength="auto" if job.strength is None else job.strength,
            seed=job.seed,
            plain=job.plain,
            mask=None if masked is None else masked.given or "auto",
            options=of_edit,
            on_progress=tell,
        )
        if len(edited.chosen) != 1:
            raise OptionError(f"A job gives one picture, not {len(edited.chosen)}: ask for one strength.")
        edited.save_each([place], overwrite=True, metadata=self._metadata, signer=self._signer(root / job.image))
        return {
            "strength": edited.strengths[0],
            "seconds": {"fit": round(fit_seconds, 3), "edit": round(time.monotonic() - started - fit_seconds, 3)},
            "warnings": list(edited.warnings),
        }

    def _signer(self, image: Path) -> Signer | None:
        if self._signing is None:
            return None
        from imagic.signing import open_signer

        return open_signer(self._signing["key"], self._signing["cert"], image)
