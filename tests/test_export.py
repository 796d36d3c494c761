"""What `imagic export` writes, read by plain diffusers as docs/export.md says: the same pixels as our own edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

import imagic
from imagic import api
from imagic.core.errors import AbilityError, OptionError, OutputError, StateError
from imagic.core.images import to_rgb
from imagic.core.types import Backbone
from tests.cli.conftest import Run, run  # noqa: F401 (a fixture)
from tests.conftest import build_pipeline
from tests.documented import ROOT, blocks

MODEL = Path("stable-diffusion-v1-5/stable-diffusion-v1-5")
ATTENTION = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
TEXT, SOURCE = "a sitting dog", "a standing dog"
# Enough for a picture that is neither the input nor what the model makes of the text.
FIT = {
    "embedding_steps": 5,
    "embedding_lr": 1.0,
    "embedding_pairs": 1,
    "network_steps": 5,
    "network_lr": 3e-4,
    "lora_lr": 0.1,
    "network_pairs": 1,
    "measured_pairs": 1,
    "rank": 2,
    "alpha": 3.0,
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the page's lines, tiny."""
    folder = tmp_path_factory.mktemp("models") / MODEL
    pipeline = build_pipeline()
    # As in Stable Diffusion, whose pipeline knows no shift.
    pipeline.vae.register_to_config(shift_factor=None)
    # Many files are: each library then has its own idea of the dtype to load them in.
    pipeline.to(torch.float16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def backbone(model_folder: Path) -> Backbone:
    return imagic.load_model(model_folder, "cpu")


@pytest.fixture(scope="module")
def fitted(backbone: Backbone) -> api.Fit:
    return fit(backbone, tuning="lora")


@pytest.fixture(autouse=True)
def _working_folder(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder in which the model has the name that the page's lines give it."""
    (tmp_path / MODEL.parent).symlink_to(model_folder.parent)
    monkeypatch.chdir(tmp_path)


def fit(backbone: Backbone, method: str = "imagic", source_text: str = "", **options: Any) -> api.Fit:
    pixels = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    wanted = FIT | options if method == "imagic" else options
    return imagic.fit(pixels, TEXT, model=backbone, method=method, source_text=source_text, options=wanted)


def pixels_of(image: Any) -> Any:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_documented_lines_make_our_picture(backbone: Backbone, run: Run, tuning: str) -> None:  # noqa: F811
    made = fit(backbone, tuning=tuning)
    made.save("dog.safetensors")
    flags = ["--full"] if tuning == "full" else []
    out = "full-export" if tuning == "full" else "dog-export"
    done = run("export", "dog.safetensors", "-o", out, "--eta", "0.7", "--model", MODEL, *flags)
    assert done.exit_code == 0
    lora, full = (block.text for block in blocks(ROOT / "docs" / "export.md", "python"))
    head, tail = lora.splitlines(), lora.splitlines()[-3:]
    code = lora if tuning == "lora" else "\n".join([*head[:5], full, *tail]).replace("dog-export", out)
    assert len(head) <= 12
    names: dict[str, Any] = {}
    exec(compile(code, "export.md", "exec"), names)
    ours = pixels_of(to_rgb(imagic.edit(made, eta=0.7).chosen[0].image))
    assert abs(pixels_of(names["image"]) - ours).max() <= 1

    def again(**changes: Any) -> Any:
        names.update(changes)
        exec(tail[-1], names)
        return pixels_of(names["image"])

    # Each of what was exported decides the picture.
    assert abs(again(start={}) - ours).max() > 4
    names["start"] = load_file(f"{out}/start.safetensors")
    for name in ("e_tgt", "e_opt") if tuning == "lora" else ():
        assert abs(again(e=load_file(f"dog-export/{name}.safetensors")) - ours).max() > 4
    untuned = StableDiffusionPipeline.from_pretrained(
        MODEL, scheduler=names["pipeline"].scheduler, torch_dtype=torch.float32
    )
    interpolated = load_file(f"{out}/e_eta.safetensors")
    e_tgt, e_opt = (load_file(f"{out}/{name}.safetensors") for name in ("e_tgt", "e_opt"))
    for name, mixture in interpolated.items():
        words = len(untuned.tokenizer(TEXT).input_ids)
        assert torch.equal(mixture[:, :words], e_tgt[name][:, :words])  # at 0.7 they have arrived
        torch.testing.assert_close(mixture[:, words:], torch.lerp(e_opt[name], e_tgt[name], 0.7)[:, words:])
    assert abs(again(e=interpolated) - ours).max() <= 1
    assert abs(again(e=interpolated, pipeline=untuned) - ours).max() > 8


def test_the_command_names_what_it_wrote(fitted: api.Fit, run: Run) -> None:  # noqa: F811
    fitted.save("dog.safetensors")
    shown = run("export", "dog.safetensors", "--model", MODEL).stdout.split()
    expected = {"e_tgt.safetensors", "e_opt.safetensors", "start.safetensors", "lora.safetensors"}
    assert set(shown) == {f"dog-export/{name}" for name in expected}
    assert {path.name for path in Path("dog-export").iterdir()} == expected
    listed = json.loads(run("export", "dog.safetensors", "--model", MODEL, "--json", "--eta", "1").stdout)["files"]
    assert set(listed) == {f"dog-export-2/{name}" for name in expected | {"e_eta.safetensors"}}


def test_nothing_is_overwritten_unless_asked(fitted: api.Fit) -> None:
    for full in (False, True):
        paths = api.export(fitted, "out", full=full, overwrite=True)
        before = {path: path.read_bytes() for path in paths}
        with pytest.raises(OutputError, match="exists already"):
            api.export(fitted, "out", full=full)
        assert {path: path.read_bytes() for path in paths} == before
        assert api.export(fitted, "out", full=full, overwrite=True) == paths
    assert not list(Path("out").glob(".part*"))
    Path("file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        api.export(fitted, "file")
    with pytest.raises(OptionError, match="finite"):
        api.export(fitted, "strange", eta=float("nan"))
    assert not Path("strange").exists()


def test_a_full_tuning_is_a_difference_in_either_form(backbone: Backbone) -> None:
    made = fit(backbone, tuning="full")
    api.export(made, "plain")
    api.export(made, "kohya", form="kohya")
    plain, kohya = (load_file(f"{folder}/difference.safetensors") for folder in ("plain", "kohya"))
    assert len(plain) == len(kohya) == len(list(made.backbone.network.parameters()))  # type: ignore[attr-defined]
    change = {name.removeprefix("change."): each for name, each in made.state.tensors.items() if "change." in name}
    assert all(torch.equal(plain[f"unet.{name}"], each) for name, each in change.items())
    assert torch.equal(kohya["lora_unet_conv_in.diff"], plain["unet.conv_in.weight"])
    assert torch.equal(kohya["lora_unet_conv_in.diff_b"], plain["unet.conv_in.bias"])
    attention = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.weight"
    assert torch.equal(
        kohya[f"lora_unet_{attention.removesuffix('.weight').replace('.', '_')}.diff"], plain[f"unet.{attention}"]
    )


def test_the_whole_network_is_the_changed_one_and_the_model_is_as_before(fitted: api.Fit, model_folder: Path) -> None:
    backbone: Any = fitted.backbone
    before = {name: each.clone() for name, each in backbone.unet.state_dict().items()}
    api.export(fitted, "out", full=True)
    assert all(torch.equal(each, before[name]) for name, each in backbone.unet.state_dict().items())
    written = load_file("out/unet/diffusion_pytorch_model.safetensors")
    changed = {name for name, each in written.items() if not torch.equal(each, before[name])}
    assert changed == {name for name in before if name.endswith(ATTENTION)}
    assert str(model_folder.parent) not in Path("out/unet/config.json").read_text()
    assert not Path("out/lora.safetensors").exists()


def test_a_fit_with_a_source_text_serves_other_targets(backbone: Backbone, fitted: api.Fit) -> None:
    made = fit(backbone, source_text=SOURCE, network_steps=0)
    paths = api.export(made, "out", text="a cat", eta=0.25)
    assert {path.stem for path in paths} == {"e_tgt", "e_opt", "e_eta", "start"}
    tensors = {path.stem: load_file(path)["prompt_embeds"] for path in paths if path.stem != "start"}
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    with torch.no_grad():
        cat, source = (
            pipeline.encode_prompt(text, "cpu", 1, do_classifier_free_guidance=False)[0] for text in ("a cat", SOURCE)
        )
    assert torch.allclose(tensors["e_tgt"], cat, atol=1e-6)
    # At a quarter words, of the longer of the two texts, have made the difference, and the padding half of it.
    words = len(pipeline.tokenizer(SOURCE).input_ids)
    whole, half = (tensors["e_opt"] + share * (cat - source) for share in (1.0, 0.5))
    expected = torch.cat([whole[:, :words], half[:, words:]], dim=1)
    assert torch.allclose(tensors["e_eta"], expected, atol=1e-5)
    with pytest.raises(OptionError, match="bound to its target text"):
        api.export(fitted, "other", text="a cat")
    api.export(fitted, "same", text=TEXT)


def test_what_cannot_be_exported_is_refused_before_anything_is_written(fitted: api.Fit, backbone: Backbone) -> None:
    with pytest.raises(OptionError, match="diffusers, kohya"):
        api.export(fitted, "out", form="pickle")
    with pytest.raises(OptionError, match="leave the form out"):
        api.export(fitted, "out", form="kohya", full=True)
    with pytest.raises(OptionError, match="'diffedit' learns nothing"):
        api.export(fit(backbone, "diffedit"), "out")
    with pytest.raises(OptionError, match="left the network as it is"):
        api.export(fit(backbone, network_steps=0), "out", full=True)
    token = fit(backbone, "unitune", network_steps=1, network_pairs=1, measured_pairs=1, tuning="lora")
    with pytest.raises(OptionError, match="'unitune' has no embeddings"):
        api.export(token, "out", eta=0.5)
    fitted.save("dog.safetensors")
    with pytest.raises(StateError, match="load that model"):
        api.export("dog.safetensors", "out", model="menagerie")
    assert not Path("out").exists()
    assert [path.name for path in api.export(token, "out")] == ["lora.safetensors"]


def test_a_family_without_a_pipeline_says_so(fitted: api.Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipeline_inputs", "exported", "save_network"):
        monkeypatch.setattr(type(fitted.backbone), name, getattr(Backbone, name))
    for arguments in ({}, {"full": True}):
        with pytest.raises(AbilityError, match="stable-diffusion-v1-5"):
            api.export(fitted, "out", **arguments)
