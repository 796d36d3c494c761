"""Folders and files of weights as a user has them, of tiny networks with random weights."""

import json

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

from tests.conftest import TEXT_LENGTH, build_tokenizer

SIDE = 16  # pixels that the tiny transformers look at
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def shaken(model, seed=0):
    """Weights large enough that different inputs give clearly different outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def clip_folder(folder, seed=0):
    tokenizer = build_tokenizer()
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**layers, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": TEXT_LENGTH}
    vision = {**layers, "image_size": SIDE, "patch_size": 8}
    model = shaken(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)), seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    crop = {"height": SIDE, "width": SIDE}
    preprocessing(folder, "CLIPImageProcessor", size={"shortest_edge": SIDE}, crop_size=crop, do_center_crop=True)
    return model, tokenizer


def vit_folder(folder, seed=0):
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=SIDE, patch_size=4
    )
    model = shaken(ViTModel(config, add_pooling_layer=False), seed)  # DINO's checkpoints have no pooler either
    model.save_pretrained(folder)
    preprocessing(folder, "ViTImageProcessor", size={"height": SIDE, "width": SIDE}, resample=2)
    return model


def resnet_folder(folder):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    model = shaken(ResNetModel(config))
    model.save_pretrained(folder)
    preprocessing(folder, "ViTImageProcessor", size={"height": SIDE, "width": SIDE}, resample=2)
    return model


def preprocessing(folder, kind, **settings):
    facts = {"image_processor_type": kind, "image_mean": MEAN, "image_std": STD, "do_resize": True, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**facts, **settings}))


def prepared(images):
    """The pixels that a model of side SIDE sees of images (B, 3, SIDE, SIDE) in [-1, 1], by hand."""
    levels = ((images + 1) * 127.5).round() / 255
    return (levels - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def alexnet(widths=(8, 10, 12, 6, 4)):
    """torchvision's `alexnet().features`, narrow, and the numbers of the ReLUs that LPIPS looks at."""
    a, b, c, d, e = widths
    layers = [
        nn.Conv2d(3, a, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1), nn.ReLU(),
        nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    ]  # fmt: skip
    return nn.Sequential(*layers), (1, 4, 7, 9, 11)


def vgg16(widths=(4, 6, 8, 10, 5)):
    """torchvision's `vgg16().features`, narrow, and the numbers of the ReLUs that LPIPS looks at."""
    layers, before = [], 3
    for width, count in zip(widths, (2, 2, 3, 3, 3), strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers), (3, 8, 15, 22, 29)


def lpips_file(path, build, seed=0):
    """A file with the network and its heads; returns the network, the ReLUs' numbers and the heads."""
    network, taps = build()
    shaken(network, seed)
    widths = [network[tap - 1].out_channels for tap in taps]
    generator = torch.Generator().manual_seed(seed)
    heads = [torch.rand(1, width, 1, 1, generator=generator) for width in widths]
    save_file(
        {
            **{f"features.{name}": tensor for name, tensor in network.state_dict().items()},
            **{f"lin{depth}.model.1.weight": head for depth, head in enumerate(heads)},
            "classifier.6.bias": torch.zeros(10),  # torchvision's files have it; LPIPS does not need it
        },
        path,
    )
    return network, taps, heads
