"""Models of the Hugging Face hub. Whoever names one wants it: it is fetched once, and found in the hub's cache then.

The hub's own variables hold: HF_HOME for the cache, HF_HUB_OFFLINE, HF_TOKEN.
"""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from diffusers import DiffusionPipeline
from huggingface_hub import errors

from imagic.backbones.quiet import quiet
from imagic.core.errors import ModelError

# Parts of pipelines that no family uses.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


def fetch(model_id: str, *, variant: str = "", revision: str = "", allow_pickle: bool = False) -> Path:
    """The local folder of a model's snapshot: of its pipeline's parts, and of each in one precision only.

    Raises ModelError with what stood in the way.
    """
    try:
        with quiet():
            folder = DiffusionPipeline.download(
                model_id,
                revision=revision or None,
                variant=variant or None,
                use_safetensors=None if allow_pickle else True,
                **dict.fromkeys(UNUSED),
            )
    except Exception as error:  # the hub's client hands on the errors of whichever HTTP library it was built on
        raise ModelError(_sentence(model_id, revision, error)) from error
    return Path(folder)


def _sentence(model_id: str, revision: str, error: Exception) -> str:
    # diffusers looks into the cache when the hub fails, and tells of that: the first failure is the reason.
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if _any(causes, errors.GatedRepoError):
        return f"The model '{model_id}' is gated: accept its terms on its page of the hub, and set HF_TOKEN."
    if _any(causes, errors.RevisionNotFoundError):
        return f"The model '{model_id}' has no revision '{revision}'."
    if _any(causes, errors.RepositoryNotFoundError):
        return f"There is no model '{model_id}', neither as a folder nor on the hub, or it is private (set HF_TOKEN)."
    if huggingface_hub.is_offline_mode():
        return f"There is no model '{model_id}' in the hub's cache, and HF_HUB_OFFLINE forbids to download it."
    reason = (str(causes[-1]).strip() or type(causes[-1]).__name__).splitlines()[0]
    return f"The model '{model_id}' could not be downloaded: {reason}"


def _any(causes: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(cause, kind) for cause in causes)
