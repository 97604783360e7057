"""The served model gets any input that Hypothesis finds: it answers, or says what is wrong, and keeps serving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.samples import drawn
from tests.faults.accidents import changed, fuzzed
from tests.inference.samples import awkward
from tests.tracking.served_model import logged, post, served, text

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(14400)]

PICTURES = list(awkward().values())
GOOD = {"dataframe_records": [{"image": text(drawn(0))}]}

pixels = st.integers(0, 255)
images = st.lists(st.lists(st.lists(pixels, min_size=3, max_size=3), min_size=2, max_size=3), min_size=1, max_size=3)
values = st.one_of(
    st.sampled_from(PICTURES).map(text),
    changed(PICTURES).map(text),
    images,
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
)
columns = st.sampled_from(["image", "image", "image", "Image", "label", "", "0"])
nested = st.recursive(
    values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(columns, inner, max_size=3), max_leaves=8
)
forms = st.one_of(
    st.lists(st.dictionaries(columns, values, max_size=3), max_size=4).map(lambda rows: {"dataframe_records": rows}),
    st.builds(
        lambda names, rows: {"dataframe_split": {"columns": names, "data": rows}},
        st.lists(columns, max_size=2),
        st.lists(st.lists(values, max_size=2), max_size=4),
    ),
    st.builds(
        lambda name, content: {name: content},
        st.sampled_from(["inputs", "instances", "dataframe_records", "dataframe_split"]),
        st.one_of(nested, st.lists(images, max_size=3), st.lists(values, max_size=4)),
    ),
    st.dictionaries(st.sampled_from(["inputs", "instances", "params", "prompt", "messages"]), nested, max_size=2),
    nested,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with logged(tmp_path_factory.mktemp("served")) as model, served(model) as address:
        yield address


def is_answered(server: str, body: object) -> None:
    status, answer = post(server, body)
    assert status in {200, 400}, answer
    found: dict[str, Any] = json.loads(answer)
    assert "Traceback" not in answer
    assert set(found) == {"predictions"} if status == 200 else found["message"].strip()


@given(body=forms)
@fuzzed
def test_any_json_is_answered_or_refused(server: str, body: object) -> None:
    is_answered(server, body)


@given(body=changed([json.dumps(form).encode() for form in (GOOD, {"inputs": [[[[1, 2, 3]] * 2] * 2]})]))
@fuzzed
def test_damaged_json_is_refused(server: str, body: bytes) -> None:
    is_answered(server, body)


@given(body=changed([f"image\n{text(picture)}\n".encode() for picture in PICTURES]))
@fuzzed
def test_a_damaged_table_is_refused(server: str, body: bytes) -> None:
    status, answer = post(server, body, "text/csv")
    assert status in {200, 400}, answer
    found = json.loads(answer)
    if "stack_trace" in found:  # MLflow's own, of reading the table
        assert found["message"].startswith("Failed to parse input as a Pandas DataFrame")


@given(kind=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30), body=forms)
@fuzzed
def test_a_body_of_another_type_is_refused(server: str, kind: str, body: object) -> None:
    status, answer = post(server, body, f"image/{kind}")
    assert status == 415
    assert "Traceback" not in answer


def test_after_all_that_a_picture_is_still_classified(server: str) -> None:
    status, answer = post(server, GOOD)
    assert status == 200
    assert len(json.loads(answer)["predictions"]) == 1


def test_a_thousand_pictures_in_a_request_are_answered(server: str) -> None:
    status, answer = post(server, {"inputs": [text(drawn(0))] * 1000})
    assert status == 200
    assert len(json.loads(answer)["predictions"]) == 1000
