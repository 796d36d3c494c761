"""LoRA files added to a model as it is loaded, against the product of their factors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from imagic.backbones import loading
from imagic.backbones.plan import Lora
from imagic.core.errors import ModelError, OptionError
from tests.backbones.conftest import FAMILIES, Family
from tests.conftest import build_pipeline

RANK, ALPHA = 2, 4.0
EVERY = [
    Family("sd", build_pipeline, StableDiffusionPipeline),
    *(f for f in FAMILIES if f.name in ("sdxl", "if", "sd3", "flux", "z-image")),
]


def network_name(family: Family) -> str:
    return "unet" if family.name in ("sd", "sdxl", "if") else "transformer"


def write_lora(family: Family, folder: Path, *, text: bool = False) -> dict[str, torch.Tensor]:
    """A LoRA on the attention of the network, and of the text encoder, in diffusers' own layout.

    Returns what it adds per parameter of the network, and under "text_encoder." of the text encoder.
    """
    pipeline = family.build()
    layers, deltas = {}, {}
    targets = {network_name(family): ["to_q", "to_v"]} | ({"text_encoder": ["q_proj"]} if text else {})
    for part, names in targets.items():
        model = getattr(pipeline, part)
        model.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names))
        factors = get_peft_model_state_dict(model)
        generator = torch.Generator().manual_seed(1)
        factors = {name: 0.1 * torch.randn(each.shape, generator=generator) for name, each in factors.items()}
        layers[f"{part}_lora_layers"] = factors
        layers[f"{part}_lora_adapter_metadata"] = {"r": RANK, "lora_alpha": ALPHA, "target_modules": names}
        for name, down in factors.items():
            if name.endswith(".lora_A.weight"):
                up = factors[name.replace("lora_A", "lora_B")]
                prefix = "text_encoder." if part == "text_encoder" else ""
                deltas[prefix + name.replace(".lora_A.weight", ".weight")] = ALPHA / RANK * up @ down
    type(pipeline).save_lora_weights(folder, **layers)
    return deltas


@pytest.mark.parametrize("family", EVERY, ids=lambda each: each.name)
def test_a_lora_is_added_to_the_weights(family: Family, tmp_path: Path) -> None:
    text = family.name not in ("if", "flux", "z-image")
    deltas = write_lora(family, tmp_path / "lora", text=text)
    family.build().save_pretrained(tmp_path / "model")
    file = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
    plain = loading.load(tmp_path / "model", "cpu")
    changed = loading.load(tmp_path / "model", "cpu", loras=[Lora(file, 0.5)])
    before, after = plain.network.state_dict(), changed.network.state_dict()  # type: ignore[attr-defined]
    assert before.keys() == after.keys()
    for name in before:
        assert torch.allclose(after[name], before[name] + 0.5 * deltas.get(name, torch.zeros(())), atol=1e-6), name
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved
    assert set(moved) == {name for name in deltas if not name.startswith("text_encoder.")}
    assert changed.fingerprint != plain.fingerprint
    texts = [each.encode_text(["a dog"]) for each in (plain, changed)]
    same = all(torch.equal(texts[0].tensors[name], texts[1].tensors[name]) for name in texts[0].tensors)
    assert same != text


def test_several_add_up_in_any_weight(tmp_path: Path) -> None:
    deltas = write_lora(EVERY[0], tmp_path / "lora")
    build_pipeline().save_pretrained(tmp_path / "model")
    file = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
    plain = loading.load(tmp_path / "model", "cpu").network.state_dict()  # type: ignore[attr-defined]
    loras = [Lora(file, 1.5), Lora(file, -0.25)]
    changed = loading.load(tmp_path / "model", "cpu", loras=loras).network.state_dict()  # type: ignore[attr-defined]
    for name, delta in deltas.items():
        assert torch.allclose(changed[name], plain[name] + 1.25 * delta, atol=1e-6)


def test_a_lora_of_another_model_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_lora(EVERY[0], tmp_path)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    build_pipeline().save_pretrained(tmp_path / "model")
    tensors = load_file(file)
    capfd.readouterr()

    def refused(changed: dict[str, Any], match: str) -> None:
        save_file(changed, tmp_path / "other.safetensors")
        with pytest.raises(ModelError, match=match):
            loading.load(tmp_path / "model", "cpu", loras=[Lora(tmp_path / "other.safetensors")])

    refused({name.replace("unet.", "transformer."): each for name, each in tensors.items()}, "names no layer")
    refused({name: each.repeat(2, 2) for name, each in tensors.items()}, "damaged, or of another kind")
    refused({"some.weight": torch.ones(2)}, "damaged, or of another kind")
    with pytest.raises(ModelError, match="there is no LoRA file"):
        loading.load(tmp_path / "model", "cpu", loras=[Lora(tmp_path / "nowhere.safetensors")])
    assert "".join(capfd.readouterr()) == ""


def test_a_pickled_lora_needs_permission(tmp_path: Path) -> None:
    write_lora(EVERY[0], tmp_path)
    build_pipeline().save_pretrained(tmp_path / "model")
    file = tmp_path / "pytorch_lora_weights.safetensors"
    torch.save(load_file(file), tmp_path / "lora.bin")
    with pytest.raises(ModelError, match="pickle"):
        loading.load(tmp_path / "model", "cpu", loras=[Lora(tmp_path / "lora.bin")])
    pickled = loading.load(tmp_path / "model", "cpu", loras=[Lora(tmp_path / "lora.bin")], allow_pickle=True)
    assert pickled.fingerprint != loading.load(tmp_path / "model", "cpu").fingerprint


@pytest.mark.parametrize(
    ("text", "path", "weight"),
    [
        ("dog.safetensors", "dog.safetensors", 1.0),
        ("dog.safetensors:0.7", "dog.safetensors", 0.7),
        ("C:\\dog.safetensors", "C:\\dog.safetensors", 1.0),
        ("C:\\dog.safetensors:-2", "C:\\dog.safetensors", -2.0),
        ("a:b.safetensors", "a:b.safetensors", 1.0),
    ],
)
def test_a_lora_is_named_with_its_weight(text: str, path: str, weight: float) -> None:
    assert Lora.parse(text) == Lora(Path(path), weight)


@pytest.mark.parametrize("text", ["dog.safetensors:nan", "dog.safetensors:inf", ":0.5", ""])
def test_an_impossible_lora_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        Lora.parse(text)
