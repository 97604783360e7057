import pytest

from convtrack.report.names import shown


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
