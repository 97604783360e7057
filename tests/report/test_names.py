import pytest

from convtrack.report.names import shown, shown_file


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("cat", "cat"),
        ("grün 猫 $x$ [red] <b>", "grün 猫 $x$ [red] <b>"),
        ("two\nlines", "two\N{REPLACEMENT CHARACTER}lines"),
        ("\x1b[31mred", "\N{REPLACEMENT CHARACTER}[31mred"),
        ("a" * 24, "a" * 24),
        ("a" * 25, "a" * 23 + "…"),
    ],
)
def test_a_class_is_printed_on_one_line_of_bounded_length(name: str, printed: str) -> None:
    assert shown(name) == printed


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("test/cat/1.png", "1.png"),
        ("data_batch_1:17", "data_batch_1:17"),
        ("test/cat/" + "a" * 20 + "0017.png", "…" + "a" * 7 + "0017.png"),
        ("test/cat/two\nlines.png", "two\N{REPLACEMENT CHARACTER}lines.png"),
    ],
)
def test_a_file_is_printed_by_the_end_of_its_name(name: str, printed: str) -> None:
    assert shown_file(name) == printed
