"""One door for built-in parts and plugins: entry points."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoints
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from imagic.core import registry
from imagic.core.errors import AbilityError, OptionError
from imagic.core.registry import Group
from imagic.core.types import Ability, Backbone, Method


@pytest.fixture
def with_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves an installed package behind: a module, and metadata with an entry point."""
    (tmp_path / "someones_method.py").write_text("class Plugin:\n    name = 'plugin'\n")
    metadata = tmp_path / "someones_method-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-method\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[imagic.methods]\nplugin = someones_method:Plugin\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_built_in_parts_are_installed() -> None:
    assert "imagic" in registry.names(Group.METHODS)
    assert "stable-diffusion" in registry.names(Group.BACKBONES)
    assert {"psnr", "ssim"} <= set(registry.names(Group.METRICS))


def test_built_in_and_foreign_parts_are_found() -> None:
    from imagic.backbones.stable_diffusion import load

    assert registry.find(Group.BACKBONES, "stable-diffusion") is load


@pytest.mark.usefixtures("with_plugin")
def test_a_plugin_is_found_by_the_same_door() -> None:
    assert "plugin" in registry.names(Group.METHODS)
    assert registry.method("plugin").name == "plugin"


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(OptionError, match="Unknown metric 'psrn': did you mean 'psnr'"):
        registry.find(Group.METRICS, "psrn")
    with pytest.raises(OptionError, match=r"Unknown backbone 'zzz': choose one of .*stable-diffusion"):
        registry.find(Group.BACKBONES, "zzz")


def test_a_broken_installation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_: EntryPoints())
    with pytest.raises(OptionError, match="install the package again"):
        registry.method("imagic")


def test_missing_abilities_are_named_before_any_work() -> None:
    method = cast(Method, SimpleNamespace(name="p2p", needs=frozenset({Ability.CROSS_ATTENTION, Ability.INVERSION})))
    able = cast(Backbone, SimpleNamespace(name="sd", abilities=frozenset(Ability)))
    unable = cast(Backbone, SimpleNamespace(name="flux", abilities=frozenset({Ability.INVERSION})))
    registry.check_abilities(method, able)
    with pytest.raises(AbilityError, match="'p2p' needs cross-attention, which the model 'flux' does not have"):
        registry.check_abilities(method, unable)


def test_names_are_listed_without_torch() -> None:
    code = "import sys; from imagic.core import registry as r; r.names(r.Group.METHODS); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
