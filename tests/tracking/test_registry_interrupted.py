"""Promotions and rollbacks that are killed on their way, or meet another one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mlflow import MlflowClient

from convtrack.errors import RefusedError
from convtrack.runs import FinishedRun, promote
from convtrack.tracking.registry import UNFINISHED, Registry
from tests.tracking.registered import aliases

WRITES = (
    "create_registered_model",
    "create_model_version",
    "update_model_version",
    "set_model_version_tag",
    "delete_model_version_tag",
    "set_logged_model_tags",
    "set_registered_model_alias",
)


class Killed(BaseException):
    pass


@contextlib.contextmanager
def killed_at(number: int, *, before: bool) -> Iterator[list[str]]:
    """The write of this number, from 1, is the last one that arrives, or the first one that does not."""
    done: list[str] = []

    def faulty(called: str) -> Callable[..., Any]:
        write = getattr(MlflowClient, called)

        def call(*arguments: Any, **named: Any) -> Any:
            done.append(called)
            if before and len(done) == number:
                raise Killed
            answer = write(*arguments, **named)
            if len(done) == number:
                raise Killed
            return answer

        return call

    with pytest.MonkeyPatch.context() as patch:
        for called in WRITES:
            patch.setattr(MlflowClient, called, faulty(called))
        yield done


@pytest.mark.slow
def test_a_promotion_and_a_rollback_that_are_killed_anywhere_leave_a_champion_and_can_be_repeated(
    three: list[FinishedRun], mlflow_client: MlflowClient, name: str
) -> None:
    _, good, best = three

    def champion(model: str) -> str:
        found = Registry(model).by_alias("champion")
        return found.run_id if found else ""

    for number in range(1, 20):
        model, before = f"{name[:60]} {number}", number % 2 == 0
        promote.promote(good, model)
        with killed_at(number, before=before) as writes, contextlib.suppress(Killed):
            promote.promote(best, model)
        assert champion(model) in {good.mlflow_id, best.mlflow_id}
        promote.promote(best, model)
        assert aliases(mlflow_client, model) == {"champion": 2, "previous": 1}
        with killed_at(number, before=before) as back, contextlib.suppress(Killed):
            promote.rollback(model)
        tags = mlflow_client.get_model_version(model, "1").tags
        if champion(model) == best.mlflow_id or UNFINISHED in tags:
            promote.rollback(model)
        assert aliases(mlflow_client, model) == {"champion": 1, "previous": 2}
        if number > max(len(writes), len(back)):
            return
    pytest.fail("never complete")


def test_a_rollback_after_a_promotion_that_was_killed_goes_back_to_the_champion_before(
    three: list[FinishedRun], mlflow_client: MlflowClient, name: str
) -> None:
    fair, good, best = three
    promote.promote(fair, name)
    promote.promote(good, name)
    with killed_at(5, before=False) as writes, pytest.raises(Killed):
        promote.promote(best, name)
    assert writes[-1] == "set_registered_model_alias"
    assert aliases(mlflow_client, name) == {"champion": 3, "previous": 1}
    promote.rollback(name)
    assert aliases(mlflow_client, name) == {"champion": 2, "previous": 3}


def test_of_two_promotions_at_once_the_second_has_to_beat_the_first(
    three: list[FinishedRun], mlflow_client: MlflowClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fair, good, best = three
    promote.promote(fair, name)
    decide, against = promote.decide, []

    def meanwhile(*compared: Any) -> promote.Decision:
        decision = decide(*compared)
        against.append(compared[1].name)
        if len(against) == 1:  # another machine, which has no lock of ours
            other = Registry(name)
            champion = other.by_alias("champion")
            assert other.exchange(other.add(str(best.mlflow_id), {}, ""), champion, "promotion")
        return decision

    monkeypatch.setattr(promote, "decide", meanwhile)
    with pytest.raises(RefusedError, match=r"the champion \(version 2\) is better"):
        promote.promote(good, name)
    assert against == ["the champion (version 1)", "the champion (version 2)"]
    assert aliases(mlflow_client, name) == {"champion": 2, "previous": 1}
