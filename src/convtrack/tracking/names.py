"""What runs, trials and models are called, and their descriptions.

MLflow's table shows the first 15 characters of a name.
"""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from typing import Any

from convtrack import files
from convtrack.errors import counted
from convtrack.params import dotted
from convtrack.params.schema import Params
from convtrack.tracking.changes import Changes
from convtrack.tracking.trials import TrialLink

LONGEST = 60  # characters of a name; the tag convtrack.differs has all
MADE_UP = re.compile("([a-z]{5})-([a-z]{4})")  # as bonny-more
# parameters whose value says enough, and those with a shorter name than their last part
SHORT = dict.fromkeys(("model.name", "model.filters", "train.optimizer.name", "train.schedule.name"), "") | {
    "model.dropout": "drop",
    "model.block_dropout": "block_drop",
    "model.conv_dropout": "conv_drop",
    "model.convs_per_block": "convs",
    "train.optimizer.learning_rate": "lr",
    "train.optimizer.muon_learning_rate": "muon_lr",
    "train.optimizer.bias_learning_rate": "bias_lr",
    "train.batch_size": "batch",
    "train.label_smoothing": "smooth",
    "train.progressive_resizing.scale": "resize",
    "train.progressive_resizing.fraction": "resize_for",
    "preprocess.seed": "val_seed",
    "data.seed": "test_seed",
}
OF_DATA = ("data.name", "data.labels", "data.path", "data.archive")  # what `data` makes one word of
SUITED = ("train.batch_size", "train.augmentation.flip")  # to the data rather than chosen: last


def differences(preset: str, changed: dict[str, list[Any]]) -> str:
    """What `presets.nearest` found, as in "fast, model.dropout=0.4"."""
    return ", ".join([preset or "defaults", *(f"{path}={_shown(values[0])}" for path, values in changed.items())])


def of_run(params: Params, preset: str, changed: dict[str, list[Any]], experiment: str = "") -> str:
    """What sets a run apart, as in "fast drop=0.4". `preset` and `changed` are what `presets.nearest` found.

    A DVC `experiment` that a user named keeps its name; a made-up name, such as bonny-more, says nothing.
    """
    if experiment and not _made_up(experiment):
        return experiment
    otherwise = OF_DATA if preset else (*OF_DATA, "model.name")
    words = {path: _word(path, values[0]) for path, values in changed.items() if path not in otherwise}
    if changed.keys() & set(OF_DATA):
        words["data"] = data(params)
    return _joined([preset or params.model.name, *(words[path] for path in sorted(words, key=_rank))])


def of_trial(params: Params, number: int) -> str:
    """The number of a trial and the values that it tries, as in "#7 drop=0.21"."""
    values = params.flat()
    bases = dict.fromkeys(dotted.split(path)[0] for path in params.study.space)
    return _joined([f"#{number}", *(_word(base, values[base]) for base in bases if base in values)])


def of_model(params: Params, trial: TrialLink | None = None) -> str:
    """Network and data, as in "vgg-cifar10", and which trial of a study; without the characters that MLflow rejects."""
    words = [params.model.name, data(params), *([trial.study, str(trial.number)] if trial else [])]
    return re.sub(r"[^\w-]+", "_", "-".join(words))


def data(params: Params) -> str:
    """The data set in one word; that of your own images is named after their folder or archive."""
    if params.data.name == "image_folder":
        return Path(params.data.path).name.partition(".")[0] or params.data.name
    return params.data.name + ("-coarse" if params.data.labels == "coarse" and params.data.name == "cifar100" else "")


def _rank(path: str) -> int:
    if path in SUITED:
        return 3
    return 1 if path == "data" else 2 if path.startswith(("data.", "preprocess.")) else 0


def _word(path: str, value: Any) -> str:
    name = SHORT.get(path, path.rpartition(".")[2])
    return f"{name}={_shown(value, 3)}" if name else _shown(value, 3)


def _shown(value: Any, digits: int = 6) -> str:
    if isinstance(value, list):
        return "-".join(_shown(each, digits) for each in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{digits}g}" if isinstance(value, float) else "null" if value is None else str(value)


def _joined(words: list[str]) -> str:
    return textwrap.shorten(" ".join(words), LONGEST, placeholder=" …")


def _made_up(experiment: str) -> bool:
    """Whether DVC invented this name, by the words in its source: importing it would take a second."""
    words, dvc = MADE_UP.fullmatch(experiment), importlib.util.find_spec("dvc")
    if not words or not dvc or not dvc.origin:
        return False
    source = Path(dvc.origin).parent / "repo/experiments/utils.py"
    text = source.read_text(encoding="utf-8") if source.exists() else ""
    return all(f"'{word}'" in text for word in words.groups())


def description(params: Params, trial: TrialLink | None, changes: Changes, experiment: str) -> str:
    """The note at the top of the run's page (Markdown) while it trains."""
    epochs = counted(params.train.epochs, "epoch")
    limit = "" if params.is_final_fit else "up to "
    lines = [f"`{params.model.name}` on `{params.data.name}`, {limit}{epochs}."]
    if params.is_final_fit:
        lines.append("Final fit: trained on train and val together, so nothing is measured on val.")
    if trial:
        apply = f"convtrack study apply {trial.study} --trial {trial.number}"
        lines.append(f"Trial {trial.number} of study `{trial.study}`: `{apply}` writes its values into params.yaml.")
    elif experiment:
        lines.append(f"DVC experiment `{experiment}`: `dvc exp show`, `dvc exp apply {experiment}`.")
    if changes:
        lines.append(changes.described())
    return "\n\n".join(lines)


def headline(metrics: dict[str, Any]) -> str:
    """The accuracy on test in words (Markdown). metrics: the content of evaluation.json."""
    low, high = (_percent(metrics[f"accuracy_{end}"]) for end in ("low", "high"))
    averaged = f", {_percent(metrics['tta_accuracy'])} with test-time augmentation" if "tta_accuracy" in metrics else ""
    accuracy = f"**Test accuracy {_percent(metrics['accuracy'])}** on {counted(metrics['images'], 'image')}"
    return f"{accuracy} (95 % interval: {low} to {high}){averaged}."


def details() -> str:
    """Val, the best epoch and the most confused pair in words (Markdown), from the files of train and evaluate."""
    few, training = files.read_json(files.METRICS), files.read_json(files.TRAINING)
    words = f"Best epoch {training['best_epoch']} of {training['epochs_run']}."
    of_val = few.get("val_accuracy")  # a final fit has none, nor a best epoch
    words = "No val split." if of_val is None else f"Val {_percent(of_val)}. {words}"
    pairs = files.read_table(files.CONFUSED_PAIRS, text=("actual", "predicted"))
    if not len(pairs):
        return words
    actual, predicted, count, share = pairs.iloc[0]
    most = f"{_code(actual)} predicted as {_code(predicted)}, {count:,} of {counted(round(count / share), 'image')}"
    return f"{words} Most confused: {most} ({_percent(share, 1)})."


def _percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f} %"


def _code(name: str) -> str:
    """A class name in Markdown, where it stays text whatever is in it."""
    text = "".join(letter if letter.isprintable() and letter != "`" else "_" for letter in name)
    return f"`{text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'}`"
