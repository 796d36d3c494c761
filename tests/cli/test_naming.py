"""Default names are short, safe and free."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from imagic.cli.naming import beside, free
from imagic.core.slug import LONGEST_PART, slug


def test_the_name_stands_beside_the_input_and_says_what_was_asked() -> None:
    assert beside(Path("pictures/dog.jpg"), "A sitting dog.") == Path("pictures/dog-a-sitting-dog.png")
    assert beside(Path("a/dog.jpg"), "x", Path("out"), ".gif") == Path("out/dog-x.gif")
    assert beside(Path("___.png"), "!") == Path("edited.png")
    assert beside(Path("My Photo (1).JPEG"), "Zwei Vögel") == Path("my-photo-1-zwei-vögel.png")


@given(st.text(max_size=500))
def test_a_slug_is_bounded_and_holds_letters_digits_and_single_dashes(text: str) -> None:
    made = slug(text)
    assert len(made.encode()) <= LONGEST_PART
    assert all(character.isalnum() or character == "-" for character in made)
    assert all(made.split("-")) or not made


def test_names_that_exist_are_passed_over_for_the_whole_set(tmp_path: Path) -> None:
    wanted = [tmp_path / "a.png", tmp_path / "b.png"]
    assert free(wanted) == wanted
    wanted[1].touch()
    assert free(wanted) == [tmp_path / "a-2.png", tmp_path / "b-2.png"]
    (tmp_path / "a-2.png").symlink_to(tmp_path / "nowhere")
    assert free(wanted) == [tmp_path / "a-3.png", tmp_path / "b-3.png"]
