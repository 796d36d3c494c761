"""What leaves a backbone for other programs: read back by diffusers' own pipelines, for every family."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imagic.core import seeds
from imagic.core.errors import AbilityError
from imagic.core.types import TuningPlan, WeightChange
from tests.backbones.conftest import Family
from tests.backbones.test_families import OTHER, TEXT

KOHYA = ("sdxl",)


def tuned(backbone: Any, kind: str = "lora", parts: tuple[str, ...] = ()) -> WeightChange:
    """A change of no small size. A LoRA's alpha is not its rank."""
    with backbone.tuning(TuningPlan(kind=kind, rank=2, alpha=3.0, parts=parts)) as tuning:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in tuning.parameters.values():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        change: WeightChange = tuning.change()
    return change


def outputs(family: Family, backbone: Any, change: WeightChange, pipeline: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What our network says with the change, and the pipeline's as it is."""
    z, timestep = seeds.initial_noise(family.shape, [3, 4]), torch.tensor([700.0, 20.0])
    with torch.no_grad(), backbone.changed(change):
        ours = backbone.predict(z, timestep, backbone.encode_text([TEXT, OTHER]))
    return ours, family.raw(pipeline, z, timestep, [TEXT, OTHER])


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
@pytest.mark.parametrize("parts", [(), ("attn", "attention", "ff", "feed_forward")])
def test_pipelines_load_the_lora(family: Family, form: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    backbone, pipeline = family.backbone(), family.build()
    change = tuned(backbone, parts=parts)
    if form == "kohya" and family.name not in KOHYA:
        with pytest.raises(AbilityError, match="no form 'kohya'"):
            backbone.exported(change, form)
        return
    save_file(dict(backbone.exported(change, form)), tmp_path / "lora.safetensors")
    pipeline.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    ours, theirs = outputs(family, backbone, change, pipeline)
    assert torch.allclose(ours, theirs, atol=1e-5 * float(ours.abs().max()))
    pipeline.unload_lora_weights()
    assert not torch.allclose(ours, outputs(family, backbone, change, pipeline)[1], rtol=0.05)


def test_factors_keep_half_precision_where_the_scale_is_one(family: Family) -> None:
    factors = {"a.lora_A.weight": torch.ones(2, 4).half(), "a.lora_B.weight": torch.ones(4, 2).half() / 3}
    backbone = family.backbone()
    for alpha, dtype in ((2.0, torch.float16), (1.5, torch.float32)):
        named = backbone.exported(WeightChange("lora", factors, {"rank": 2, "alpha": alpha}), "diffusers")
        up = named[f"{backbone.part}.a.lora_B.weight"]
        assert up.dtype == dtype
        assert torch.equal(up, factors["a.lora_B.weight"].to(dtype) * (alpha / 2))


def test_pipelines_read_the_whole_network(family: Family, tmp_path: Path) -> None:
    backbone, pipeline = family.backbone(), family.build()
    change = tuned(backbone, "full", ("attn", "attention"))
    with backbone.changed(change):
        backbone.save_network(tmp_path)
    network = type(family.network(pipeline)).from_pretrained(tmp_path / backbone.part)
    pipeline.register_modules(**{backbone.part: network})
    ours, theirs = outputs(family, backbone, change, pipeline)
    assert torch.allclose(ours, theirs, atol=1e-5 * float(ours.abs().max()))


def test_a_difference_names_every_parameter(family: Family) -> None:
    backbone = family.backbone()
    change = tuned(backbone, "full", ("attn", "attention"))
    named = backbone.exported(change, "diffusers")
    assert named.keys() == {f"{backbone.part}.{name}" for name in change.tensors}
    assert all(torch.equal(named[f"{backbone.part}.{name}"], each) for name, each in change.tensors.items())
    assert hasattr(family.build(), backbone.part)


def test_texts_are_the_pipelines_arguments(family: Family, tmp_path: Path) -> None:
    """A pipeline makes of the tensors, written and read, what it makes of the text."""
    pipeline, backbone = family.build(), family.backbone()
    inputs = {name: each.contiguous() for name, each in backbone.pipeline_inputs(backbone.encode_text([TEXT])).items()}
    save_file(inputs, tmp_path / "e_tgt.safetensors")
    read = load_file(tmp_path / "e_tgt.safetensors")
    z = seeds.initial_noise(family.shape, [3])
    call = {name: value[:1] if isinstance(value, list) else value for name, value in family.call.items()}
    one = dataclasses.replace(family, call=call)
    expected = one.run(pipeline, [TEXT], z, 5.0, "latent")
    if "negative_prompt" in call or family.name == "z-image":  # these take both texts in one form
        null = backbone.pipeline_inputs(backbone.encode_text([""]))
        one.call.pop("negative_prompt", None)
        read |= {f"negative_{name}": each for name, each in null.items()}
    one.call.update({name: list(each) for name, each in read.items()} if family.name == "z-image" else read)
    assert torch.allclose(one.run(pipeline, None, z, 5.0, "latent"), expected, atol=1e-4 * float(expected.abs().max()))
