"""Models of the Hugging Face hub. Whoever names one wants it: it is fetched once, and found in the hub's cache then.

The hub's own variables hold: HF_HOME for the cache, HF_HUB_OFFLINE, HF_TOKEN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffusers import DiffusionPipeline
from huggingface_hub import errors, hf_hub_download, is_offline_mode

from imagic.backbones.quiet import quiet
from imagic.core.errors import ModelError

# Parts of pipelines that no family uses.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")


def fetch(
    model_id: str,
    *,
    variant: str = "",
    revision: str = "",
    allow_pickle: bool = False,
    without: Sequence[str] = (),
    check: Callable[[Path], object] = lambda folder: None,
) -> Path:
    """The local folder of a model's snapshot: of its pipeline's parts, and of each in one precision only.

    without: further parts that are not wanted. check: called before anything large is fetched, with a folder that holds
    the model_index.json alone; raises what is not wanted. Raises ModelError with what stood in the way.
    """
    with _told(model_id, revision):
        index = hf_hub_download(model_id, "model_index.json", revision=revision or None)
    check(Path(index).parent)
    with _told(model_id, revision), quiet():
        folder = DiffusionPipeline.download(
            model_id,
            revision=revision or None,
            variant=variant or None,
            use_safetensors=None if allow_pickle else True,
            **dict.fromkeys((*UNUSED, *without)),
        )
    return Path(folder)


@contextmanager
def _told(model_id: str, revision: str) -> Iterator[None]:
    """Within: what goes wrong becomes a ModelError."""
    try:
        yield
    except Exception as error:  # the hub's client hands on the errors of whichever HTTP library it was built on
        raise ModelError(_sentence(model_id, revision, error)) from error


def _sentence(model_id: str, revision: str, error: Exception) -> str:
    # diffusers looks into the cache when the hub fails, and tells of that: the first failure is the reason.
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)

    def caused_by(kind: type[BaseException]) -> bool:
        return any(isinstance(each, kind) for each in causes)

    if caused_by(errors.GatedRepoError):
        return f"The model '{model_id}' is gated: accept its terms on its page of the hub, and set HF_TOKEN."
    if caused_by(errors.RevisionNotFoundError):
        return f"The model '{model_id}' has no revision '{revision}'."
    if caused_by(errors.RepositoryNotFoundError):
        return f"There is no model '{model_id}', neither as a folder nor on the hub, or it is private (set HF_TOKEN)."
    if is_offline_mode():
        return f"There is no model '{model_id}' in the hub's cache, and HF_HUB_OFFLINE forbids to download it."
    if caused_by(errors.RemoteEntryNotFoundError):
        return f"The model '{model_id}' has no model_index.json: it is not a diffusers pipeline."
    reason = (str(causes[-1]).strip() or type(causes[-1]).__name__).splitlines()[0]
    return f"The model '{model_id}' could not be downloaded: {reason}"
