"""A params.yaml that is broken in any way that Hypothesis finds is valid or refused, in little memory."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.study import problems
from tests.faults.accidents import fuzzed, is_usable

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(14400), pytest.mark.usefixtures("little_memory")]

ROOT = Path(__file__).parent.parent.parent


LINES = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
VALUE = re.compile(r"(?P<key>^ *[\w.]+:)(?P<value> +[^#\s][^#]*?)?(?P<rest> *(#.*)?$)")
scalars = st.one_of(
    st.sampled_from(["~", "true", "no", ".nan", "-.inf", "0", "-1", "1e309", "-0.0", "1e-400", "0x_", "0o9", "1_000"]),
    st.sampled_from(
        ["2020-13-45", "2020-10-05", *(f"!!{tag} x" for tag in ("int", "bool", "float", "binary", "null"))]
    ),
    st.sampled_from(
        ["!!timestamp x", "!!set {a}", "!!omap [a: 1]", "*here", "&here 1", "<<", "?", "|", ">", "@", "%", "-"]
    ),
    st.sampled_from(["9" * 5000, "0x" + "f" * 9000, "-" + "9" * 30, "v" * 2000, "!!omap [a: *here]", "!!python/x y"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12).map(json.dumps),
    st.text(max_size=12),
    st.integers(1, 600).map(lambda depth: "[" * depth + "]" * depth),
    st.integers(1, 300).map(lambda depth: "{a: " * depth + "}" * depth),
    st.lists(st.sampled_from(["1", "a", "~", "[]", "*here", "0.5"]), max_size=30).map(
        lambda one: f"[{', '.join(one)}]"
    ),
)


@st.composite
def params_files(draw: st.DrawFn) -> str:
    """params.yaml with a few lines changed; `here` is an anchor in it, of a bomb at times."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(
            st.sampled_from(["value", "value", "value", "delete", "repeat", "indent", "insert", "move", "bytes"])
        ):
            case "value":
                if found := VALUE.match(lines[place]):
                    lines[place] = f"{found['key']} {draw(scalars)}{found['rest']}"
            case "delete":
                del lines[place]
            case "repeat":
                lines.insert(place, lines[place])
            case "indent":
                lines[place] = " " * draw(st.integers(0, 6)) + lines[place].strip()
            case "insert":
                lines.insert(place, f"{draw(st.sampled_from(['', '  ', '    ']))}{draw(scalars)}: {draw(scalars)}")
            case "move":
                lines.insert(place, lines.pop(draw(st.integers(0, len(lines) - 1))))
            case "bytes":
                start = draw(st.integers(0, len(lines[place])))
                lines[place] = lines[place][:start] + draw(st.text(max_size=4)) + lines[place][start + 1 :]
    return "\n".join(
        [*draw(st.sampled_from([[], [], [], ["h: &here [1, 2]"], ["h: &here {seed: 3}"], BOMB])), *lines, ""]
    )


BOMB = [
    "b0: &b0 [a, b]",
    *[f"b{level}: &b{level} [{', '.join([f'*b{level - 1}'] * 9)}]" for level in range(1, 12)],
    "here: &here [*b11]",
]


@given(text=params_files())
@fuzzed
def test_params_yaml_is_valid_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            params = schema.load(path)
            problems.check(params, schema.searchable(schema.read_yaml(path)), (32, 32, 3))
        except ConfigError as error:
            is_usable(error)
        else:
            json.dumps(params.model_dump(), allow_nan=False)  # what is valid can be recorded
