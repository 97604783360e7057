"""Whether a run's model may become the champion of a registered model, and the way back."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from filelock import FileLock

from convtrack import files
from convtrack.errors import ConfigError, DataError, RefusedError, TrackingError
from convtrack.evaluation import statistics
from convtrack.evaluation.statistics import p_words
from convtrack.report import card
from convtrack.runs import comparison, history, recorded
from convtrack.runs.comparison import Comparison, Pair
from convtrack.runs.finished import FinishedRun
from convtrack.tracking import health, reading
from convtrack.tracking.reading import RecordedRun
from convtrack.tracking.registry import CHAMPION, LONGEST, PREVIOUS, Registry, Version

LOCK = files.STATE / "promote.lock"
FIRST = "there was no champion"


@dataclass(frozen=True)
class Decision:
    """Whether a run is better than the champion by more than chance, why, and what was compared, if anything."""

    better: bool
    reason: str
    found: Comparison | None = None

    @property
    def pair(self) -> Pair | None:
        return self.found.pairs[0] if self.found else None


def decide(run: FinishedRun, champion: FinishedRun | None, missing: str = "") -> Decision:
    """Compare `run` with the champion on test, image by image. A pure function.

    champion: None where there is none, or its results are not available for the reason `missing`.
    """
    if champion is None:
        reason = f"it cannot be compared with the champion: {missing}" if missing else FIRST
        return Decision(not missing, reason)
    try:
        found = comparison.compare([champion, run], "test")
    except DataError as error:  # other classes, or no predictions
        return Decision(False, error.message)
    (pair,) = found.pairs
    if not pair.paired:
        note = next(note for note in found.notes if "different test images" in note)
        return Decision(False, note.partition(", so")[0], found)
    return Decision(pair.p < statistics.SIGNIFICANT and pair.found.difference > 0, pair.verdict, found)


def promote(run: FinishedRun, name: str | None, *, force: bool = False) -> list[str]:
    """Make the model of `run` the champion of the registered model `name`, by default that of its data set.

    Returns what was done, in sentences. Each comparison with a champion counts as a look at its test images. Raises
    RefusedError where the run is not better by more than chance, unless `force`; TrackingError where MLflow lacks the
    run or its model, or does not answer.
    """
    record = _recorded(run)
    run_id = record.run_id
    registry = Registry(name or _data_set(run))
    registry.model_of(run_id)  # if it is missing, nothing is compared
    with _one_at_a_time():
        while True:
            champion = registry.by_alias(CHAMPION)
            if champion:
                registry.finish(champion)
            if champion and champion.run_id == run_id:
                return [f"{run.name} is the champion of {registry.name} already, as {champion}"]
            decision = decide(run, *_results(champion))
            looks = _count(decision)
            if not decision.better and not force:
                raise _refused(run, registry.name, champion, decision)
            tags = _tags(decision, champion, looks, run)
            version = registry.add(run_id, tags, _description(run, record))
            if registry.exchange(version, champion, "promotion"):
                return _done(version, run, champion, decision) + _looks(looks)
            # another champion since: this one has to beat that


def rollback(name: str) -> list[str]:
    """Exchange the champion of the registered model `name` with the previous one; returns what was done.

    Raises RefusedError where there is nothing to go back to, TrackingError where MLflow does not answer.
    """
    registry = Registry(name)
    with _one_at_a_time():
        champion = registry.by_alias(CHAMPION)
        if champion and registry.finish(champion) == "rollback":
            return [f"an interrupted rollback of {name} is complete now: the champion is {champion}"]
        previous = registry.by_alias(PREVIOUS)
        if champion is None or previous is None or champion.number == previous.number:
            what = f"{name} has no {PREVIOUS}" if champion else f"{name} has no {CHAMPION}"
            raise RefusedError(
                f"there is nothing to roll back: {what} version. Nothing was changed",
                "convtrack promote RUN --force makes any run the champion; --name names another registered model",
            )
        if not registry.exchange(previous, champion, "rollback"):
            raise RefusedError(f"another command changed the champion of {name} just now", "look at it, and try again")
    return [
        f"models:/{name}@{CHAMPION} is {previous} again",
        f"models:/{name}@{PREVIOUS} is {champion}; the same command exchanges them again",
    ]


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    with files.storage_errors(LOCK):
        LOCK.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(LOCK)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _recorded(run: FinishedRun) -> RecordedRun:
    """MLflow's record of a run, its evaluation included. Raises TrackingError where there is none."""
    found = reading.get(run.mlflow_id) if run.mlflow_id else None
    if found and ("test_accuracy" in found.metrics or not run.metrics):
        return found
    if found:
        why = f"run {found.run_id} has no test accuracy yet"
    else:
        health.state()  # a store that does not answer has an error of its own
        why = next((note.partition("unknown: ")[2] for note in run.notes if "unknown: " in note), "it was deleted")
    raise TrackingError(
        f"MLflow has no complete record of {run.name}: {why}",
        "convtrack tracking sync sends what waits; then try again",
    )


def _data_set(run: FinishedRun) -> str:
    if found := run.parameters.get("data.name"):
        return found
    raise ConfigError(f"the data set of {run.name} is not known", "--name NAME names the registered model")


def _results(champion: Version | None) -> tuple[FinishedRun | None, str]:
    """The run of the champion, or why it cannot be compared."""
    if champion is None:
        return None, ""
    if not champion.run_id:
        return None, f"{champion} was registered without a run"
    found = reading.get(champion.run_id)
    if found is None:
        return None, f"its run {champion.run_id} was deleted"
    try:
        return recorded.load(found, f"the champion ({champion})"), ""
    except DataError as error:
        return None, error.message


def _count(decision: Decision) -> int | None:
    """How many pairs of runs have been compared on these test images; None where nothing was."""
    if decision.found is None:
        return None
    keys = [run.key for run in decision.found.runs]
    return history.count(decision.found.images, [(keys[0], keys[1])])


def _looks(count: int | None) -> list[str]:
    return [f"Pairs of runs compared on these test images so far: {count:,}, these included"] if count else []


def _refused(run: FinishedRun, name: str, champion: Version | None, decision: Decision) -> RefusedError:
    if decision.pair and decision.pair.paired:
        what = f"{run.name} is not better than the champion of {name} by more than chance"
    else:
        what = f"{run.name} cannot be compared with the champion of {name}"
    return RefusedError(
        f"{what}: {decision.reason}. {champion} stays champion, and nothing was registered",
        "--force promotes it anyway, --name NAME under another name",
    )


def _tags(decision: Decision, champion: Version | None, looks: int | None, run: FinishedRun) -> dict[str, str]:
    """What was compared, with which result, and the test metrics."""
    result = "forced" if not decision.better else "better" if champion else "first"
    tags = {"promotion.result": result, "promotion.reason": decision.reason}
    if champion:
        tags["promotion.against"] = f"{champion}, run {champion.run_id or 'unknown'}"
    if decision.pair:
        found = decision.pair.found
        tags |= {
            "promotion.difference": f"{found.difference:+.4f}",
            "promotion.interval": f"{found.low:+.4f} to {found.high:+.4f}",
            "promotion.p": p_words(found.p),
            "promotion.test_images": str(found.images_b),
            "promotion.comparisons_on_these_images": str(looks),
        }
    if decision.pair and decision.pair.paired:
        tags["promotion.right_only_here"] = str(decision.pair.found.only_b)
        tags["promotion.right_only_before"] = str(decision.pair.found.only_a)
    return tags | {name: _number(value) for name, value in _metrics(run).items()}


def _metrics(run: FinishedRun) -> dict[str, float]:
    """The numbers of evaluation.json as `test_…`, and those of metrics.json."""
    named = {name for name in run.metrics if name.startswith(("test_", "val_", "best_"))}
    return {name if name in named else f"test_{name}": value for name, value in run.metrics.items()}


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.4f}"


def _description(run: FinishedRun, record: RecordedRun) -> str:
    """The model card, or without one the test accuracy, which MLflow's page of a version shows in no other place."""
    if found := card.body(reading.card(record), LONGEST):
        return found
    metrics = _metrics(run)
    if "test_accuracy" not in metrics:
        return "Its test accuracy is not known."
    low, high = metrics.get("test_accuracy_low"), metrics.get("test_accuracy_high")
    interval = f" (95 % interval {100 * low:.2f} to {100 * high:.2f} %)" if low is not None and high is not None else ""
    data = run.parameters.get("data.name", "unknown data")
    images = f"{metrics['test_images']:,.0f} test images" if "test_images" in metrics else "the test images"
    return f"Test accuracy {100 * metrics['test_accuracy']:.2f} %{interval} on {images} of {data}."


def _done(version: Version, run: FinishedRun, champion: Version | None, decision: Decision) -> list[str]:
    why = decision.reason if decision.better else f"forced, although {decision.reason}"
    lines = [f"models:/{version.name}@{CHAMPION} is now {version}, from {run.name}: {why}"]
    if champion:
        back = f"convtrack promote --rollback --name {shlex.quote(version.name)} goes back"
        lines.append(f"models:/{version.name}@{PREVIOUS} is {champion}; {back}")
    return lines
