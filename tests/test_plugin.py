"""What docs/extending.md shows: a method in a package of its own, installed as a user would, and a metric."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import imagic
from imagic import api
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import OptionError
from imagic.core.types import Sample
from tests.conftest import MakeBackbone, MakePipeline
from tests.documented import ROOT, blocks, install

PACKAGE = ROOT / "examples" / "imagic-plugin-ilvr"
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
STEPS, GUIDANCE = 4, 3.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the package is installed into, on the path of this process."""
    folder = tmp_path_factory.mktemp("site")
    install(PACKAGE, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("imagic_plugin_ilvr", None)


def test_the_command_line_lists_the_method_and_the_package_passes_its_own_test(site: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(site), "NO_COLOR": "1"}
    for command, expected in (
        (["-m", "imagic.cli", "methods", "ilvr"], "ILVR: Conditioning Method"),
        (["-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE)], "4 passed"),
    ):
        child = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, check=False, capture_output=True, text=True
        )
        assert child.returncode == 0, child.stdout + child.stderr
        assert expected in child.stdout


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_an_edit_is_the_loop_over_diffusers_scheduler(
    site: Path, make_backbone: MakeBackbone, make_pipeline: MakePipeline, strength: float
) -> None:
    backbone = make_backbone()
    edited = imagic.edit(
        PIXELS, "a sitting dog", model=backbone, method="ilvr", strength=strength, seed=3,
        options={"num_steps": STEPS, "guidance_scale": GUIDANCE, "factor": 4},
    )  # fmt: skip
    expected = by_hand(make_pipeline(), backbone, strength)
    torch.testing.assert_close(edited.chosen[0].image, expected, rtol=0, atol=2e-4)
    if strength < 1:
        assert not torch.allclose(by_hand(make_pipeline(), backbone, 1.0), expected, atol=1e-2)


@torch.no_grad()
def by_hand(pipeline: Any, backbone: StableDiffusionBackbone, strength: float) -> torch.Tensor:
    """Algorithm 1 with diffusers' scheduler, and the coarse part by Pillow's filter."""
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(STEPS)
    conditional, empty = pipeline.encode_prompt("a sitting dog", "cpu", 1, True, "")
    z0 = backbone.encode(torch.from_numpy(PIXELS).permute(2, 0, 1)[None].float() / 127.5 - 1)
    noise = torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(3))[None]
    z = noise
    for step, t in enumerate(scheduler.timesteps):
        without, with_text = (pipeline.unet(z, t, encoder_hidden_states=each).sample for each in (empty, conditional))
        z = scheduler.step(without + GUIDANCE * (with_text - without), t, z).prev_sample
        if step < STEPS - int(STEPS * strength):
            before = t - scheduler.config.num_train_timesteps // STEPS
            share = scheduler.alphas_cumprod[before] if before >= 0 else scheduler.final_alpha_cumprod
            y = share**0.5 * z0 + (1 - share) ** 0.5 * noise
            z = z + coarse(y) - coarse(z)
    return backbone.decode(z)[0]


def coarse(z: torch.Tensor) -> torch.Tensor:
    channels = []
    for channel in z[0].numpy():
        small = Image.fromarray(channel).resize((2, 2), Image.Resampling.BICUBIC)
        channels.append(np.asarray(small.resize((8, 8), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(channels))[None]


def test_a_state_a_batch_and_a_record_work_as_with_any_method(
    site: Path, eps_backbone: StableDiffusionBackbone, tmp_path: Path
) -> None:
    options = {"num_steps": STEPS}
    fitted = imagic.fit(PIXELS, "a sitting dog", model=eps_backbone, method="ilvr")
    fitted.save(tmp_path / "dog.safetensors")
    again = imagic.Fit.load(tmp_path / "dog.safetensors", PIXELS, model=eps_backbone)
    edited = imagic.edit(again, strength=(0.25, 0.75), seed=1, num_seeds=2, options=options)
    assert list(zip(edited.seeds, edited.strengths, strict=True)) == [(1, 0.25), (1, 0.75), (2, 0.25), (2, 0.75)]
    made = api.redo(edited.records[3], PIXELS, model=eps_backbone)
    assert np.array_equal(np.asarray(made.images[0]), np.asarray(edited.images[3]))
    with pytest.raises(OptionError, match="factors"):
        imagic.edit(fitted, options={"factors": 2})


def test_the_metric_of_the_page_is_right() -> None:
    names: dict[str, Any] = {}
    exec(blocks(ROOT / "docs" / "extending.md", "python")[0].text, names)
    image = torch.linspace(-1, 1, 48).reshape(3, 4, 4)
    sample = Sample(image=image + 0.5, input=image, target_text="a sitting dog")
    assert names["LargestChange"]()(sample) == pytest.approx(0.5)


def test_the_page_shows_the_module_as_it_is() -> None:
    shown = [block.text for block in blocks(ROOT / "docs" / "extending.md", "python")]
    assert (PACKAGE / "imagic_plugin_ilvr.py").read_text(encoding="utf-8") in shown
