"""The network that sees a picture: as a checkpoint's only one, and as an adapter beside a text-to-image UNet."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from imagic.backbones import loading
from imagic.backbones.instruction import ADAPTER, read_editor, save_adapter, widened
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import AbilityError, ModelError
from imagic.core.types import Ability, WeightChange
from tests.conftest import MakeBackbone, build_pipeline
from tests.instructing import build_instruct_pipeline, instructed_backbone, seeing

TEXTS = ["a sitting dog", "a cat"]


@pytest.fixture
def z() -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def z0() -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))


TIMES = torch.tensor([900, 20])


def adapter_parts(unet: nn.Module) -> tuple[nn.Conv2d, WeightChange]:
    """A seeing input layer, and a LoRA of rank 2 on one linear layer and one convolution."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name in ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "mid_block.resnets.0.conv1"):
        shape = unet.get_submodule(name).weight.shape
        tensors[f"{name}.lora_A.weight"] = torch.randn(2, *shape[1:], generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(shape[0], 2, *[1] * (len(shape) - 2), generator=generator)
    return seeing(unet).conv_in, WeightChange("lora", tensors, {"rank": 2, "alpha": 1.0})


def test_a_widened_unet_ignores_what_it_has_not_learned_to_see(z: Tensor) -> None:
    unet = build_pipeline().unet
    before = {name: p.clone() for name, p in unet.named_parameters()}
    hidden = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(1))
    wide = widened(unet).eval()
    with torch.no_grad():
        expected = unet(z, TIMES, hidden).sample
        seen = wide(torch.cat([z, 100 * torch.rand_like(z)], 1), TIMES, hidden).sample
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)
    assert wide.config["in_channels"] == 8
    assert unet.config["in_channels"] == 4
    assert all(torch.equal(p, before[name]) for name, p in unet.named_parameters())


def test_the_only_network_sees_the_encoders_own_latents_or_none(z: Tensor, z0: Tensor) -> None:
    """The tiny autoencoder has a scale of 0.7 and a shift of 0.1, which the network's picture has not."""
    backbone = instructed_backbone()
    assert Ability.INSTRUCTION in backbone.abilities
    text = backbone.encode_text(TEXTS)
    with torch.no_grad():
        sequence = text.tensors["sequence"]
        picture = (z0 / 0.7 + 0.1).expand_as(z)
        shown = backbone.unet(torch.cat([z, picture], 1), TIMES, sequence).sample
        nothing = backbone.unet(torch.cat([z, torch.zeros_like(z)], 1), TIMES, sequence).sample
        torch.testing.assert_close(backbone.predict(z, TIMES, backbone.with_image(text, z0)), shown)
        torch.testing.assert_close(backbone.predict(z, TIMES, backbone.with_image(text, z0, blank=True)), nothing)
        torch.testing.assert_close(backbone.predict(z, TIMES, text), nothing)
    assert float((shown - nothing).abs().max()) > 0.01
    assert backbone.with_image(text, z0).learnable == text.learnable


def test_beside_another_network_it_is_asked_for_instructions_alone(z: Tensor, z0: Tensor) -> None:
    backbone = instructed_backbone(adapter=True)
    text = backbone.encode_text(TEXTS)
    with torch.no_grad():
        plain = backbone.unet(z, TIMES, text.tensors["sequence"]).sample
        torch.testing.assert_close(backbone.predict(z, TIMES, text), plain)
        shown = backbone.predict(z, TIMES, backbone.with_image(text, z0))
        torch.testing.assert_close(shown, instructed_backbone().predict(z, TIMES, backbone.with_image(text, z0)))
    assert backbone.fingerprint != instructed_backbone().fingerprint


def test_without_it_there_is_no_instruction(make_backbone: MakeBackbone, z0: Tensor) -> None:
    backbone = make_backbone()
    assert Ability.INSTRUCTION not in backbone.abilities
    with pytest.raises(AbilityError, match="follows no instructions"):
        backbone.with_image(backbone.encode_text(["a"]), z0)
    parts = build_pipeline()
    with pytest.raises(ModelError, match="takes 8 channels, its latents have 4"):
        StableDiffusionBackbone(
            "tiny", seeing(parts.unet), parts.vae, parts.text_encoder, parts.tokenizer, parts.scheduler
        )


def test_a_checkpoint_of_the_paper_is_a_family_of_its_own(tmp_path: Path, z: Tensor, z0: Tensor) -> None:
    pipeline = build_instruct_pipeline(prediction_type="v_prediction")
    pipeline.save_pretrained(tmp_path)
    backbone = loading.load(tmp_path, "cpu")
    assert Ability.INSTRUCTION in backbone.abilities
    assert backbone.prediction == "v"
    expected = instructed_backbone()
    bundles = (each.with_image(each.encode_text(TEXTS), z0) for each in (backbone, expected))
    ours, known = (each.predict(z, TIMES, bundle) for each, bundle in zip((backbone, expected), bundles, strict=True))
    torch.testing.assert_close(ours, known, rtol=0, atol=1e-5)


def test_an_adapter_travels_in_the_models_folder(tmp_path: Path, z: Tensor, z0: Tensor) -> None:
    pipeline = build_pipeline()
    pipeline.save_pretrained(tmp_path)
    layer, change = adapter_parts(pipeline.unet)
    save_adapter(tmp_path / ADAPTER, pipeline.unet, layer, change)
    backbone = loading.load(tmp_path, "cpu")
    assert Ability.INSTRUCTION in backbone.abilities

    # W + (alpha / rank) B A by hand, on a copy.
    editor = copy.deepcopy(pipeline.unet)
    editor.conv_in = layer
    factors = {name: tensor.half().float() for name, tensor in change.tensors.items()}
    with torch.no_grad():
        layer.weight.copy_(layer.weight.half())
        layer.bias.copy_(layer.bias.half())
        for name in ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "mid_block.resnets.0.conv1"):
            down, up = factors[f"{name}.lora_A.weight"], factors[f"{name}.lora_B.weight"]
            weight = editor.get_submodule(name).weight
            weight += 0.5 * torch.einsum("or,r...->o...", up.flatten(1), down).reshape(weight.shape)
        text = backbone.encode_text(TEXTS)
        picture = (z0 / 0.7 + 0.1).expand_as(z)
        expected = editor(torch.cat([z, picture], 1), TIMES, text.tensors["sequence"]).sample
        found = backbone.predict(z, TIMES, backbone.with_image(text, z0))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        plain = pipeline.unet(z, TIMES, text.tensors["sequence"]).sample
        torch.testing.assert_close(backbone.predict(z, TIMES, text), plain, rtol=0, atol=1e-5)
    with safe_open(tmp_path / ADAPTER, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_an_adapter_of_another_unet_is_left_alone(tmp_path: Path) -> None:
    unet = build_pipeline().unet
    save_adapter(tmp_path / ADAPTER, unet, *adapter_parts(unet))
    assert read_editor(tmp_path, unet) is not None
    with torch.no_grad():
        unet.conv_out.bias += 1e-3
    assert read_editor(tmp_path, unet) is None
    assert read_editor(tmp_path / "nothing", unet) is None
