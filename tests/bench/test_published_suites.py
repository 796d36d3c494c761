"""The published benchmarks on small copies of their layouts, and the domain suite."""

import json
import re
from collections import Counter
from typing import ClassVar

import pytest
import torch

from imagic.bench.baselines import Copy
from imagic.bench.report import load
from imagic.bench.runner import run
from imagic.bench.sets import score_sets, table
from imagic.bench.suites import open_suite
from imagic.core.errors import AbilityError, NotAvailable, OptionError
from tests.bench.fakes import SPREAD, FakeBackbone, drain, entry
from tests.bench.pictures import columns, picture

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

LINES = """\
,path,source,source_id,target,target_id,is_test
7,n01/val_1.JPEG,tabby,281,Persian cat,283,True
8,n02/val_2.JPEG,beagle,162,"hound, Afghan",160,True
9,n03/val_3.JPEG,basset,161,beagle,162,False
"""


@pytest.fixture
def ted(tmp_path):
    edits = [("dog.png", "A sitting dog."), ("dog.png", "A dog. Taken in autumn."), ("zebra.jpeg", "A horse")]
    listed = [{"img_name": image, "target_text": text} for image, text in edits]
    (tmp_path / "input_list.json").write_text(json.dumps(listed))
    picture(tmp_path / "originals" / "dog.png", 40, 30, format="JPEG")
    picture(tmp_path / "originals" / "zebra.jpeg", 16, 16, (0, 0, 0, 0), format="PNG")
    return tmp_path


def test_tedbench_with_its_quirks(ted):
    items = open_suite("tedbench", data=ted).items()
    # The names of the authors' own results; only the last dot is left out.
    assert [item.name for item in items] == [
        "dog.png-A_sitting_dog", "dog.png-A_dog._Taken_in_autumn", "zebra.jpeg-A_horse",
    ]  # fmt: skip
    assert [item.target_text for item in items] == ["A sitting dog.", "A dog. Taken in autumn.", "A horse"]
    assert {item.source_text for item in items} == {""}
    jpeg, clear = (items[index].render(FakeBackbone()) for index in (0, 2))
    assert jpeg.source.shape == (3, 16, 16)
    assert jpeg.inside == (0, 2, 16, 12)
    assert torch.equal(clear.source, torch.ones(3, 16, 16))  # what is transparent becomes white
    assert clear.truth is clear.mask is clear.inside is None


def test_tedbench_names_the_missing_file(ted, tmp_path):
    (ted / "originals" / "zebra.jpeg").unlink()
    assert len(open_suite("tedbench", 2, data=ted).items()) == 2
    with pytest.raises(OptionError, match=r"originals/zebra\.jpeg is missing: the suite 'tedbench' needs"):
        open_suite("tedbench", data=ted)
    (ted / "input_list.json").write_text('[{"image": "dog.png"}]')
    with pytest.raises(OptionError, match="not TEdBench's list"):
        open_suite("tedbench", data=ted)
    (ted / "input_list.json").write_text("[")
    with pytest.raises(OptionError, match="not valid JSON"):
        open_suite("tedbench", data=ted)
    with pytest.raises(OptionError, match=r"input_list\.json is missing"):
        open_suite("tedbench", data=tmp_path / "originals")


def test_imagenet_takes_the_test_queries_and_the_middle_square(tmp_path):
    (tmp_path / "queries.csv").write_text(LINES)
    for number in (1, 2):
        path = tmp_path / f"n0{number}" / f"val_{number}.JPEG"
        path.parent.mkdir()
        columns(path.with_suffix(".png"), 48, 16).rename(path)
    first, second = open_suite("diffedit-imagenet", data=tmp_path).items()
    assert (first.source_text, first.target_text, first.group) == ("tabby", "Persian cat", "Persian cat")
    assert second.target_text == "hound, Afghan"
    assert first.name == "val_1-Persian_cat"
    pictures = first.render(FakeBackbone())
    assert pictures.inside is None
    levels = (pictures.source + 1) * 127.5
    torch.testing.assert_close(levels, torch.arange(16.0, 32.0).expand(3, 16, 16), atol=1e-4, rtol=0)


def test_imagenet_names_what_is_wrong(tmp_path):
    with pytest.raises(OptionError, match=r"queries\.csv is missing: the suite 'diffedit-imagenet'"):
        open_suite("diffedit-imagenet", data=tmp_path)
    (tmp_path / "queries.csv").write_text(LINES)
    with pytest.raises(OptionError, match=r"val_1\.JPEG is missing"):
        open_suite("diffedit-imagenet", data=tmp_path)
    (tmp_path / "queries.csv").write_text(LINES.replace("is_test", "test"))
    with pytest.raises(OptionError, match="no column is_test"):
        open_suite("diffedit-imagenet", data=tmp_path)
    (tmp_path / "queries.csv").write_bytes(b"path\xff\n")
    with pytest.raises(OptionError, match="intact copy"):
        open_suite("diffedit-imagenet", data=tmp_path)


@pytest.fixture
def coco(tmp_path):
    candidates = [{"image_id": number, "image_filename": f"COCO_val2014_{number:012d}.jpg"} for number in (42, 73)]
    entry = {"bison_id": 5, "caption": "A red bus.", "image_candidates": candidates, "true_image_id": 42}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "bison_annotations.cocoval2014.json").write_text(json.dumps({"data": [entry]}))
    picture(tmp_path / "val2014" / "COCO_val2014_000000000073.jpg", 32, 48)
    return tmp_path


def test_coco_edits_the_other_image_towards_the_caption(coco):
    (item,) = open_suite("diffedit-coco", data=coco).items()
    assert (item.name, item.target_text, item.source_text) == ("bison-5", "A red bus.", "")
    assert item.render(FakeBackbone()).inside is None
    captions = [
        {"id": 9, "image_id": 73, "caption": "later"},
        {"id": 3, "image_id": 73, "caption": "A truck. "},
        {"id": 1, "image_id": 42, "caption": "A bus."},
    ]
    without = open_suite("diffedit-coco", data=coco).name
    (coco / "annotations" / "captions_val2014.json").write_text(json.dumps({"annotations": captions}))
    suite = open_suite("diffedit-coco", data=coco)
    assert suite.items()[0].source_text == "A truck."
    assert suite.name != without
    (coco / "annotations" / "captions_val2014.json").write_text('{"annotations": [{"id": 1}]}')
    with pytest.raises(OptionError, match="not COCO's list of captions"):
        open_suite("diffedit-coco", data=coco)


def test_coco_names_what_is_wrong(coco):
    (coco / "val2014" / "COCO_val2014_000000000073.jpg").unlink()
    with pytest.raises(OptionError, match=r"COCO_val2014_000000000073\.jpg is missing: the suite 'diffedit-coco'"):
        open_suite("diffedit-coco", data=coco)
    listed = coco / "annotations" / "bison_annotations.cocoval2014.json"
    listed.write_text('{"data": [{"bison_id": 5, "caption": "A", "image_candidates": [], "true_image_id": 1}]}')
    with pytest.raises(OptionError, match="not BISON's list"):
        open_suite("diffedit-coco", data=coco)
    listed.unlink()
    with pytest.raises(OptionError, match=r"cocoval2014\.json is missing"):
        open_suite("diffedit-coco", data=coco)


SENTENCE = (
    "(?P<medium>A photo of a|An oil painting of a) "
    "(?P<animal>fuzzy panda|British Shorthair cat|Persian cat|Shiba Inu dog|raccoon) "
    r"(?P<headwear>wearing a (?:cowboy hat|sunglasses) and) (?P<clothing>red shirt|black leather jacket) "
    r"(?P<activity>playing a guitar|riding a bike|skateboarding) "
    r"(?P<place>in a garden|on a beach|on top of a mountain)\."
)


def test_imagen_changes_one_slot_of_each_of_360_sentences():
    items = open_suite("diffedit-imagen").items()
    assert len({item.source_text for item in items}) == len(items) == 360
    for item in items:
        before, after = (re.fullmatch(SENTENCE, text).groupdict() for text in (item.source_text, item.target_text))
        assert [slot for slot in before if before[slot] != after[slot]] == [item.group]
    counts = Counter(item.group for item in items)
    assert set(counts) == {"animal", "headwear", "clothing", "activity", "place"}
    assert min(counts.values()) > 40
    again, other = open_suite("diffedit-imagen", 5), open_suite("diffedit-imagen", 5, seed=1)
    texts = [(item.name, item.target_text) for item in items]
    assert [(item.name, item.target_text) for item in again.items()] == texts[:5]
    assert [(item.name, item.target_text) for item in other.items()] != texts[:5]
    assert other.name != again.name


def test_imagen_with_given_images(tmp_path):
    name = open_suite("diffedit-imagen", 1).items()[0].name
    with pytest.raises(OptionError, match=rf"{re.escape(name)}\.png is missing: the suite 'diffedit-imagen'"):
        open_suite("diffedit-imagen", 1, data=tmp_path)
    picture(tmp_path / f"{name}.png", 20, 16, (255, 255, 255))
    suite = open_suite("diffedit-imagen", 1, data=tmp_path)
    assert torch.equal(suite.items()[0].render(FakeBackbone()).source, torch.ones(3, 16, 16))
    assert "given" in suite.name
    assert "generated" in open_suite("diffedit-imagen").name


def test_imagen_lets_the_model_draw_the_images():
    class Model(FakeBackbone):
        """Draws pictures of mean 0.4, whatever the text."""

        read: ClassVar[list[str]] = []

        def encode_text(self, texts):
            self.read.extend(texts)
            return super().encode_text(["4"] * len(texts))

        def decode(self, z):
            return z

    items = open_suite("diffedit-imagen", 2).items()
    first, second = (item.render(Model()).source for item in items)
    assert first.shape == (3, 16, 16)
    for image in (first, second):
        assert float(image.mean()) == pytest.approx(0.4, abs=4 * SPREAD / 768**0.5)
        assert SPREAD / 2 < float(image.std()) < SPREAD * 2
    assert [text for text in Model.read if text] == [item.source_text for item in items]
    assert not torch.equal(first, second)
    assert torch.equal(first, items[0].render(Model()).source)
    incapable = FakeBackbone()
    incapable.abilities = frozenset()
    with pytest.raises(AbilityError, match="guidance"):
        items[0].render(incapable)


class Mean(torch.nn.Module):
    """The mean level of the red and the blue channel."""

    def forward(self, images):
        return images.float()[:, ::2].mean((2, 3)) / 255


def test_a_domain_is_compared_with_given_pictures(tmp_path):
    weights = tmp_path / "mean.pt"
    torch.jit.script(Mean()).save(str(weights))
    for index in range(3):
        picture(tmp_path / "horses" / f"{index}.jpg", 30, 20, (40 * index, 0, 0), "PNG")
        picture(tmp_path / "zebras" / "stripes" / f"{index}.png", 20, 30, (40 * index, 0, 51))
    suite = open_suite("domain", data=tmp_path / "horses", target_text="a zebra", source_text="a horse")
    assert [(item.name, item.target_text, item.source_text) for item in suite.items()] == [
        (f"{index}.jpg", "a zebra", "a horse") for index in range(3)
    ]
    drain(run(tmp_path / "out", suite, [entry("copy", method=Copy())], FakeBackbone()))
    rows, paths = load(tmp_path / "out"), {"trusted-torchscript": weights}
    measures = ["fid:torchscript", "csfid:torchscript"]
    scores = score_sets(tmp_path / "out", rows, measures, paths, references=tmp_path / "zebras")
    fid, csfid = scores
    # The two sets differ by 51 levels of blue and by nothing else.
    assert fid.value == pytest.approx((51 / 255) ** 2, abs=1e-6)
    assert csfid.value is None
    assert "class 'domain'" in csfid.reason
    assert "against 3 given pictures" in table(scores).markdown()
    with pytest.raises(NotAvailable, match="--references"):
        score_sets(tmp_path / "out", rows, measures, paths)
    with pytest.raises(OptionError, match="no pictures"):
        score_sets(tmp_path / "out", rows, measures, paths, references=tmp_path / "nowhere")


def test_a_domain_without_a_text_or_pictures(tmp_path):
    with pytest.raises(OptionError, match="--target"):
        open_suite("domain", data=tmp_path)
    with pytest.raises(OptionError, match="no pictures in"):
        open_suite("domain", data=tmp_path, target_text="a zebra")
