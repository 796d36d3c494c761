import json
import math

import pytest

from imagic.bench import rows
from imagic.core.errors import OutputError


def row(item="a", label="copy", seed=0, error=None, **more):
    return {"item": item, "label": label, "seed": seed, "error": error, **more}


def test_rows_read_back_as_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    first = row(text="bläck dög", etas=(0.1, 0.2), nested={"success": None})
    rows.append(path, first)
    rows.append(path, row("b"))
    assert rows.read_rows(tmp_path) == {
        ("a", "copy", 0, None): {**first, "etas": [0.1, 0.2]},
        ("b", "copy", 0, None): row("b"),
    }


def test_infinity_is_valid_json_and_reads_back(tmp_path):
    rows.append(tmp_path / "rows.jsonl", row(psnr={"all": math.inf}))
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert float(json.loads(line, parse_constant=pytest.fail)["psnr"]["all"]) == math.inf


def test_a_torn_last_line_is_passed_over_and_repaired(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows.append(path, row("a"))
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert set(rows.read_rows(tmp_path)) == {("a", "copy", 0, None)}
        rows.repair(path)
        assert path.read_bytes() == whole


def test_repair_leaves_whole_files_and_missing_ones(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows.repair(path)
    assert not path.exists()
    rows.append(path, row("a"))
    whole = path.read_bytes()
    rows.repair(path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"{\n", b"[1]\n", b'{"item": "a"}\n', b"\xff\n", b"\n"])
def test_damage_elsewhere_is_named(tmp_path, damage):
    path = tmp_path / "rows-1-of-2.jsonl"
    rows.append(path, row("a"))
    path.write_bytes(path.read_bytes() + damage)
    rows.append(path, row("b"))
    with pytest.raises(OutputError, match=r"Line 2 of rows-1-of-2\.jsonl"):
        rows.read_rows(tmp_path)


def test_a_later_row_replaces_an_earlier_one(tmp_path):
    rows.append(tmp_path / "rows.jsonl", row("a", error="no"))
    rows.append(tmp_path / "rows.jsonl", row("a", error=None))
    assert [each["error"] for each in rows.read_rows(tmp_path).values()] == [None]


def test_an_error_never_replaces_a_result(tmp_path):
    rows.append(tmp_path / "rows-1-of-2.jsonl", row("a"))
    rows.append(tmp_path / "rows.jsonl", row("a", error="no"))
    assert [each["error"] for each in rows.read_rows(tmp_path).values()] == [None]


def test_shards_are_read_together(tmp_path):
    rows.append(tmp_path / "rows-1-of-2.jsonl", row("a"))
    rows.append(tmp_path / "rows-2-of-2.jsonl", row("b"))
    assert {key[0] for key in rows.read_rows(tmp_path)} == {"a", "b"}
