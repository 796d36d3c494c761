"""What is done with hostile files, texts, names and numbers: command lines, and requests to the service.

A case holds all that it needs as plain values, so that it can be written down and given again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from benchmarks.hostile_files import (
    ENDINGS,
    damaged,
    hostile_pictures,
    malformed_safetensors,
    sound_pictures,
    with_records,
)
from benchmarks.hostile_values import (
    BODIES,
    DONE,
    EDITS,
    FLAGS,
    HEADER_VALUES,
    HEADERS,
    KINDS,
    NAMES,
    NUMBERS,
    OPTIONS,
    STRANGE_JSON,
    TEXTS,
    part,
    paths,
)
from hypothesis import strategies as st

PICTURE, MODEL, STATE, TEXT = "picture.png", "model", "state.safetensors", "a sitting dog"
# As little work as an edit allows, for what gets through.
QUICK = ("--model", MODEL, "--no-cache", "--method", "sdedit", "--set", "num_steps=2", "--eta", "0.5")


@dataclass(frozen=True)
class Request:
    """path: with DONE for the id of a finished edit. headers: Latin-1, by name."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """files: laid into the working folder, by name. command: of the command line, or request: to the service."""

    kind: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    request: Request | None = None

    @property
    def surface(self) -> str:
        return "cli" if self.request is None else "api"

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=lambda data: {"base64": base64.b64encode(data).decode()})

    @staticmethod
    def from_json(text: str) -> Case:
        """What `to_json` gave."""
        values = json.loads(text, object_hook=lambda d: base64.b64decode(d["base64"]) if set(d) == {"base64"} else d)
        asked = values["request"]
        return Case(values["kind"], values["files"], tuple(values["command"]), asked and Request(**asked))


Cases: TypeAlias = st.SearchStrategy[Case]


@dataclass(frozen=True)
class Sound:
    """What hostile input is made from. model: the files of a model's folder; state, record: of edits with it."""

    model: Mapping[str, bytes]
    state: bytes
    record: Mapping[str, Any]


def command_lines(sound: Sound) -> dict[str, Cases]:
    """Cases of the command line, by kind."""
    found = {f"picture: {kind}": _picture_commands(kind, data) for kind, data in hostile_pictures().items()}
    found["picture: lying extension"] = st.tuples(
        st.sampled_from(sorted(sound_pictures())), st.sampled_from(ENDINGS), COMMANDS
    ).map(lambda drawn: _with_file("picture: lying extension", sound_pictures()[drawn[0]], drawn[1], drawn[2]))
    found["picture: record"] = with_records(sound.record).map(
        lambda data: Case(
            "picture: record", {"out.png": data}, ("redo", "out.png", "--image", PICTURE, "--model", MODEL)
        )
    )
    for kind, data in {**damaged({"state": sound.state}), "header": malformed_safetensors(sound.state)}.items():
        found[f"state: {kind}"] = _state_commands(f"state: {kind}", data)
    weights = {name: data for name, data in sound.model.items() if name.endswith(".safetensors")}
    network = weights["unet/diffusion_pytorch_model.safetensors"]
    for kind, data in {**damaged(weights), "header": malformed_safetensors(network)}.items():
        found[f"weights: {kind}"] = _weights_commands(f"weights: {kind}", data, sound)
    configs = sorted(name for name in sound.model if name.endswith(".json"))
    found["weights: wrong model"] = st.sampled_from(configs).flatmap(lambda name: _wrong_models(sound, name))
    found["text"] = st.builds(_text_command, TEXTS, st.sampled_from(("text", "source", "mask", "fit", "set")))
    found["name"] = st.builds(
        _name_command, NAMES, st.sampled_from(("out", "save-state", "sheet", "animate", "save-mask", "in"))
    )
    found["number"] = st.one_of(
        st.builds(lambda flag, value: _edit("number", flag, value), st.sampled_from(FLAGS), NUMBERS),
        st.builds(lambda name, value: _edit("number", "--set", f"{name}={value}"), st.sampled_from(OPTIONS), NUMBERS),
        st.builds(_export_command, NUMBERS),
    )
    return found


def _edit(kind: str, *further: str, image: str = PICTURE, text: str = TEXT) -> Case:
    """The last of a flag that is given twice counts."""
    return Case(kind, {}, ("edit", *QUICK, *further, "--", image, text))


COMMANDS = st.sampled_from(("inspect", "inspect-json", "edit", "mask", "redo", "redo-mask"))


def _with_file(kind: str, data: bytes, ending: str, command: str) -> Case:
    name = f"input.{ending}" if ending else "input"
    lines = {
        "inspect": ("inspect", name),
        "inspect-json": ("inspect", "--json", name),
        "edit": ("edit", name, TEXT, *QUICK),
        "mask": ("edit", PICTURE, TEXT, *QUICK, "--mask", name),
        "redo": ("redo", name, "--image", PICTURE),
        "redo-mask": ("redo", PICTURE, "--image", name, "--model", MODEL),
    }
    return Case(kind, {name: data}, lines[command])


def _picture_commands(kind: str, data: st.SearchStrategy[bytes]) -> Cases:
    return st.builds(_with_file, st.just(f"picture: {kind}"), data, st.sampled_from(("png", "jpg", "")), COMMANDS)


def _state_commands(kind: str, data: st.SearchStrategy[bytes]) -> Cases:
    lines = (
        ("inspect", "hostile.safetensors"),
        ("edit", PICTURE, TEXT, "--state", "hostile.safetensors", "--model", MODEL, "--num-steps", "2", "--eta", "1"),
        ("export", "hostile.safetensors", "--model", MODEL, "-o", "exported"),
    )
    return st.builds(lambda made, line: Case(kind, {"hostile.safetensors": made}, line), data, st.sampled_from(lines))


def _weights_commands(kind: str, data: st.SearchStrategy[bytes], sound: Sound) -> Cases:
    def case(made: bytes, how: str) -> Case:
        if how == "folder":
            files = {f"hostile/{name}": each for name, each in sound.model.items()}
            files["hostile/unet/diffusion_pytorch_model.safetensors"] = made
            return Case(kind, files, ("edit", PICTURE, TEXT, *QUICK, "--model", "hostile"))
        line = {
            "lora": ("--lora", "hostile.safetensors"),
            "file": ("--model", "hostile.safetensors", "--config", MODEL),
        }[how]
        return Case(kind, {"hostile.safetensors": made}, ("edit", PICTURE, TEXT, *QUICK, *line))

    return st.builds(case, data, st.sampled_from(("folder", "lora", "file")))


def _wrong_models(sound: Sound, name: str) -> Cases:
    """A model's folder, of which one setting of one file is strange, or that file is damaged."""
    whole = json.loads(sound.model[name])
    names = sorted(whole) if isinstance(whole, dict) and whole else ["a"]
    changed = st.builds(
        lambda key, value: json.dumps({**whole, key: value}).encode(), st.sampled_from(names), STRANGE_JSON
    )

    def case(data: bytes) -> Case:
        files = {f"hostile/{each}": found for each, found in sound.model.items()} | {f"hostile/{name}": data}
        return Case("weights: wrong model", files, ("edit", PICTURE, TEXT, *QUICK, "--model", "hostile"))

    return st.one_of(changed, damaged({name: sound.model[name]})["truncated"]).map(case)


def _text_command(text: str, where: str) -> Case:
    command = {
        "text": ("edit", *QUICK, "--", PICTURE, text),
        "source": ("edit", *QUICK, "--source", text, "--", PICTURE, TEXT),
        "mask": ("mask", "--model", MODEL, "--set", "mask_noises=1", "--", PICTURE, text),
        "fit": ("fit", "--model", MODEL, "--no-cache", "--method", "sdedit", "--", PICTURE, text),
        "set": ("edit", *QUICK, "--set", f"target_text={text}", "--", PICTURE, TEXT),
    }[where]
    return Case("text", {}, command)


def _name_command(name: str, where: str) -> Case:
    if where == "in":
        return _edit("name", image=name)
    return _edit("name", f"--{where}", name)


def _export_command(number: str) -> Case:
    return Case("number", {}, ("export", STATE, "--model", MODEL, "-o", "exported", "--eta", number))


def requests() -> dict[str, Cases]:
    """Cases of the service, by kind."""
    picture = base64.b64encode(sound_pictures()["png"]).decode()
    good = {"image": picture, "text": TEXT, "method": "sdedit", "eta": 0.5, "options": {"num_steps": 2}}
    found = {f"picture: {kind}": _uploads(f"picture: {kind}", data, good) for kind, data in hostile_pictures().items()}
    found["text"] = st.builds(
        lambda text, name: _json("text", {**good, name: text}),
        TEXTS,
        st.sampled_from(("text", "source_text", "method", "preset")),
    )
    asked = st.builds(Request, st.sampled_from(("GET", "POST", "DELETE", "PUT")), paths())
    # The finished edit is there for every case.
    asked = asked.filter(lambda request: request.method != "DELETE" or DONE not in request.path)
    found["name"] = asked.map(lambda request: Case("name", request=request))
    fields = st.sampled_from(
        (*good, "strength", "seed", "num_seeds", "plain", "mask", "model", "preset", "crop", "metadata", "more")
    )
    found["number"] = st.one_of(
        st.builds(lambda name, value: _json("number", {**good, name: value}), fields, STRANGE_JSON),
        st.builds(
            lambda name, value: _json("number", {**good, "options": {name: value}}),
            st.sampled_from(OPTIONS),
            STRANGE_JSON,
        ),
        st.builds(
            lambda name, value: _json("number", {name: value}, f"{EDITS}/{DONE}/again"),
            st.sampled_from((*good, "seed", "mask")),
            STRANGE_JSON,
        ),
    )
    found["body"] = st.builds(_body, BODIES, KINDS, st.sampled_from((EDITS, f"{EDITS}/{DONE}/again", "/api/v1/login")))
    found["header"] = st.builds(
        lambda name, value: _json("header", good, headers={name: value}), st.sampled_from(HEADERS), HEADER_VALUES
    )
    return found


def _json(kind: str, body: Any, path: str = EDITS, headers: Mapping[str, str] | None = None) -> Case:
    data = json.dumps(body).encode()
    return Case(kind, request=Request("POST", path, data, {"Content-Type": "application/json", **(headers or {})}))


def _uploads(kind: str, data: st.SearchStrategy[bytes], good: Mapping[str, Any]) -> Cases:
    """As the picture and as the mask, in JSON and in a form."""

    def case(made: bytes, name: str, form: bool, file: str) -> Case:
        if not form:
            return _json(kind, {**good, name: base64.b64encode(made).decode()})
        fields = {each: value if isinstance(value, str) else json.dumps(value) for each, value in good.items()}
        parts = {"image": base64.b64decode(good["image"]), name: made}
        body = b"".join(part(each, value.encode()) for each, value in fields.items() if each != "image")
        body += b"".join(part(each, value, file) for each, value in parts.items()) + b"--b--\r\n"
        return Case(kind, request=Request("POST", EDITS, body, {"Content-Type": "multipart/form-data; boundary=b"}))

    return st.builds(case, data, st.sampled_from(("image", "mask")), st.booleans(), NAMES)


def _body(body: bytes, kind: str, path: str) -> Case:
    return Case("body", request=Request("POST", path, body, {"Content-Type": kind}))


def all_cases(sound: Sound, surface: str = "", kind: str = "") -> Cases:
    """Any case, each surface and each of its kinds as often. surface: only this one; kind: only those of which the name
    begins so. Raises ValueError when there are none."""
    surfaces = {"cli": command_lines(sound), "api": requests()}
    found = [
        {each: cases for each, cases in kinds.items() if each.startswith(kind)}
        for name, kinds in surfaces.items()
        if surface in ("", name)
    ]
    if not (chosen := [kinds for kinds in found if kinds]):
        raise ValueError(f"no kind begins with '{kind}': they are {', '.join(sorted(set().union(*surfaces.values())))}")
    return st.sampled_from(chosen).flatmap(lambda kinds: st.sampled_from(sorted(kinds)).flatmap(kinds.__getitem__))
