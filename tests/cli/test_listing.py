"""`imagic methods`, `models` and `doctor` say what the code says."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import json
from pathlib import Path
from typing import Any

import pytest

from imagic.cli import doctor
from imagic.core import registry
from tests.cli.conftest import Run


def test_methods_lists_every_option_of_every_method_with_bounds_and_help(run: Run) -> None:
    listed = json.loads(run("methods", "--json").stdout)
    assert listed["version"] == 1
    assert tuple(each["name"] for each in listed["methods"]) == registry.names(registry.Group.METHODS)
    for each in listed["methods"]:
        method = registry.method(each["name"])
        assert set(each["needs"]) == set(method.needs)
        assert set(each["presets"]) == set(method.presets)
        for key, kind in (("fit", method.FitOptions), ("edit", method.EditOptions)):
            fields = {field.name: field for field in dataclasses.fields(kind)}
            assert [option["name"] for option in each[key]] == list(fields)
            for option in each[key]:
                field = fields[option["name"]]
                assert option["help"] == field.metadata["help"] != ""
                assert (option["minimum"], option["maximum"]) == (field.metadata["minimum"], field.metadata["maximum"])


def test_methods_are_readable_and_an_unknown_one_is_refused(run: Run) -> None:
    text = run("methods", "imagic").stdout
    assert "network_steps" in text
    assert "[ddim | dpmpp_2m]" in text
    assert run("methods", "imagik").exit_code == 1


def test_models_lists_the_bundled_ones(run: Run) -> None:
    listed = json.loads(run("models", "--json").stdout)
    assert listed["version"] == 1
    assert [model["name"] for model in listed["models"]] == ["menagerie"]
    assert {"stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux"} <= set(listed["families"])
    assert listed["aliases"]["sdxl"] == "stabilityai/stable-diffusion-xl-base-1.0"
    text = run("models").stdout
    assert all(name in text for name in ("menagerie", *listed["families"], *listed["aliases"]))


def test_doctor_reports_each_check_and_exits_by_the_worst(run: Run) -> None:
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["version"] == 1
    assert report["ok"] is all(check["ok"] for check in checks.values())
    assert done.exit_code == (0 if report["ok"] else 1)
    assert {"python", "torch", "torchvision", "devices", "threads", "menagerie", "cache"} <= set(checks)
    assert checks["devices"]["found"].endswith("cpu")


def test_doctor_finds_a_torchvision_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    def broken(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    spec = importlib.machinery.ModuleSpec("torchvision", None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    check = doctor.check_torchvision()
    assert not check.ok
    assert "nms" in check.found
    assert "pip uninstall torchvision" in check.found


def test_doctor_names_a_missing_package_and_how_to_get_it() -> None:
    check = doctor.check_package("no-such-package-here")
    assert check == doctor.Check("no-such-package-here", False, "not installed; run: pip install no-such-package-here")


def test_doctor_finds_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(blocked / "cache"))
    assert not doctor.check_cache().ok
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "new" / "cache"))
    assert doctor.check_cache().ok
