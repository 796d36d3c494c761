import pytest

from imagic.bench.catalogue import VARIANTS, entries, methods_of, names
from imagic.bench.suites import open_suite
from imagic.core import registry
from imagic.core.errors import OptionError
from imagic.core.options import build_options
from tests.bench.fakes import FakeMethod


@pytest.fixture
def installed(monkeypatch):
    """One method, as if it were installed."""
    monkeypatch.setattr(registry, "names", lambda group: ("imagic",))
    monkeypatch.setattr(registry, "method", {"imagic": FakeMethod()}.__getitem__)


@pytest.mark.usefixtures("installed")
def test_methods_baselines_and_variants_are_known_by_name():
    assert {"imagic", "copy", "generate", "imagic-no-finetune"} <= set(names())
    plain, copy, variant = entries(["imagic", "copy", "imagic-embedding-10"], "hard", {"effort": 2}, {"eta": 0.1})
    assert (plain.label, plain.method.name, plain.preset) == ("imagic", "fake", "hard")
    assert (plain.fit, plain.edit) == ({"effort": 2}, {"eta": 0.1})
    assert (copy.label, copy.method.name, copy.preset, dict(copy.fit)) == ("copy", "copy", "", {})
    assert (variant.label, variant.preset) == ("imagic-embedding-10", "paper")
    assert (dict(variant.fit), variant.edit["eta"]) == ({"effort": 2, "embedding_steps": 10}, 0.1)


@pytest.mark.usefixtures("installed")
def test_where_a_variant_differs_from_its_method_its_own_value_stands():
    (variant,) = entries(["imagic-embedding-10"], fit={"embedding_steps": 7, "effort": 3})
    assert dict(variant.fit) == {"embedding_steps": 10, "effort": 3}


@pytest.mark.usefixtures("installed")
def test_methods_are_known_by_themselves_and_by_their_variants():
    assert methods_of(["imagic", "imagic-embedding-10", "copy", "nobody"]) == ["imagic"]


@pytest.mark.usefixtures("installed")
def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(OptionError, match="did you mean 'imagic-paper'"):
        entries(["imagic-papr"])
    with pytest.raises(OptionError, match="choose one of imagic, copy"):
        entries(["zzz"])


def test_an_unknown_suite_is_named():
    with pytest.raises(OptionError, match="choose one of menagerie"):
        open_suite("zoo")


@pytest.mark.parametrize("label", list(VARIANTS))
def test_every_variant_is_a_valid_set_of_options_that_differs_from_its_preset(label):
    variant = VARIANTS[label]
    method = registry.method(variant.method)
    preset = method.presets[variant.preset] if variant.preset else {}
    build_options(method.FitOptions, {**preset, **variant.fit})
    build_options(method.EditOptions, variant.edit)


def test_variants_of_a_method_can_share_a_fit():
    imagic, variant, ddib = entries(["imagic", "imagic-no-finetune", "ddib-menagerie"])
    assert imagic.method is variant.method
    assert ddib.method is not imagic.method
