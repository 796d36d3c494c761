"""Reading a signed picture: whether it was changed since, who signed, and what the manifest says happened to it.

An intact signature proves that the file is as it was signed. Whose key it was is another question: a certificate's name
is only as good as its root, and imagic brings no list of roots, so it vouches for the own one alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imagic.signing.keys import need_packages, own_root
from imagic.signing.manifest import SETTINGS

_UNTRUSTED = "signingCredential.untrusted"
_SAID = {
    "own": (
        "Unchanged since imagic signed it with this user's own key. Its root is not trusted by others: to them it shows"
        " that the file is unchanged, not who signed it."
    ),
    "unknown": (
        "Unchanged since it was signed. Who signed is not proved: imagic trusts no root of certificates but its own."
    ),
    "changed": "Changed after signing: do not rely on what its Content Credentials say.",
    "invalid": "The Content Credentials are not valid: do not rely on what they say.",
}


@dataclass(frozen=True)
class Verification:
    """What is known of a picture's Content Credentials. All texts are the file's own and untrusted.

    state: "own", signed with the key of this user and intact; "unknown", intact, by whoever; "changed" after signing;
    "invalid" for any other reason. signed_by, organisation: as the certificate says. actions, inputs: what was done, by
    which software, and with what. problems: codes of the C2PA specification.
    """

    state: Literal["own", "unknown", "changed", "invalid"]
    signed_by: str = ""
    organisation: str = ""
    actions: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        return self.state in ("own", "unknown")

    @property
    def sentence(self) -> str:
        return _SAID[self.state]


def verify(data: bytes, mime: str, folder: Path | None = None) -> Verification | None:
    """The Content Credentials in a file's bytes; None where there are none. folder: of the own key.

    Raises NotAvailable without the packages.
    """
    need_packages()
    import c2pa

    root = own_root(folder)
    trust = {"verify_trust": True, **SETTINGS["verify"]}
    settings = {**SETTINGS, "verify": trust, **({"trust": {"user_anchors": root}} if root else {})}
    try:
        reader = c2pa.Reader.try_create(mime, io.BytesIO(data), context=c2pa.Context.from_dict(settings))
        if reader is None:
            return None
        with reader:
            store: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError.NotSupported:
        return None  # a format that cannot hold any
    except (c2pa.C2paError, ValueError) as error:
        return Verification("invalid", problems=(str(error)[:200],))
    return _of(store)


def _of(store: Mapping[str, Any]) -> Verification:
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    results = store.get("validation_results", {}).get("activeManifest", {})
    problems = tuple(
        dict.fromkeys(str(each["code"]) for each in results.get("failure", ()) if each["code"] != _UNTRUSTED)
    )
    signature = manifest.get("signature_info", {})
    return Verification(
        state=_state(str(store.get("validation_state")), problems),
        signed_by=str(signature.get("common_name") or ""),
        organisation=str(signature.get("issuer") or ""),
        actions=tuple(_actions(manifest)),
        inputs=tuple(str(each.get("instance_id") or "") for each in manifest.get("ingredients", ())),
        problems=problems,
    )


def _state(found: str, problems: tuple[str, ...]) -> Literal["own", "unknown", "changed", "invalid"]:
    if any(code.endswith(".mismatch") for code in problems):
        return "changed"
    if problems or found not in ("Valid", "Trusted"):
        return "invalid"
    return "own" if found == "Trusted" else "unknown"


def _actions(manifest: Mapping[str, Any]) -> list[str]:
    """Such as "c2pa.edited by imagic 0.1.0"."""
    return [
        f"{action.get('action', '')}{_agent(action.get('softwareAgent'))}"
        for assertion in manifest.get("assertions", ())
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]


def _agent(agent: Any) -> str:
    """A name in older manifests, name and version in newer ones."""
    if isinstance(agent, dict):
        agent = " ".join(str(agent[part]) for part in ("name", "version") if part in agent)
    return f" by {agent}" if agent else ""
