"""What a service is started with: where its data lie, its model, and its limits."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


def default_data() -> Path:
    """imagic's folder among the user's data."""
    return Path(platformdirs.user_data_dir("imagic", appauthor=False)) / "serve"


@dataclass(frozen=True)
class Settings:
    """data: the folder of jobs, fits and key. model, device, dtype: as for load_model.

    max_bytes: of a request's body. max_pixels: of an uploaded picture. max_queue: unfinished edits of all clients;
    max_per_client: of one. lease_seconds: after which a worker that says nothing is held to be dead.
    checkpoint_seconds, cache_gigabytes: as for Cache. preview_seconds: between two previews.
    """

    data: Path
    model: str = "menagerie"
    device: str | None = None
    dtype: str | None = None
    max_bytes: int = 64 * 2**20
    max_pixels: int = 24_000_000
    max_queue: int = 64
    max_per_client: int = 16
    lease_seconds: float = 30.0
    checkpoint_seconds: float = 30.0
    cache_gigabytes: float | None = None
    preview_seconds: float = 2.0

    @property
    def database(self) -> Path:
        return self.data / "jobs.sqlite"

    @property
    def fits(self) -> Path:
        """The cache of fits; `imagic cache` lists it when IMAGIC_CACHE_DIR names it."""
        return self.data / "fits"

    @property
    def jobs(self) -> Path:
        return self.data / "jobs"

    @property
    def worker_lock(self) -> Path:
        """Held by the one worker, as long as it lives."""
        return self.data / "worker.lock"

    def folder(self, job: str) -> Path:
        """The folder of a job, by its id, which must have the form of one."""
        return self.jobs / job

    def create(self) -> None:
        """The folders, for this user alone. Raises OSError."""
        for each in (self.data, self.fits, self.jobs):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=os.fspath)

    @staticmethod
    def from_json(text: str) -> Settings:
        """What `to_json` gave."""
        values = json.loads(text)
        return Settings(**{**values, "data": Path(values["data"])})
