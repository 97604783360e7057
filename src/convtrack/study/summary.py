"""A study in the terminal: `convtrack study show`."""

from __future__ import annotations

import shlex
from datetime import timedelta

from optuna.trial import FrozenTrial
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convtrack.study import results
from convtrack.study.results import Found

MOST_COLUMNS = 4  # trials side by side
MOST_REASONS = 5


def summary(found: Found, storage: str) -> RenderableType:
    """How the study stands, its best trials beside trial 0, why trials failed, and where to look next.

    `storage` is its address as `optuna --storage` takes it, without a password.
    """
    parts: list[RenderableType] = [_head(found, storage)]
    if found.best:
        parts.append(_best(found))
    parts += [*_failures(found), _next(found, storage)]
    return Group(*[part for pair in zip(parts, [Text()] * len(parts), strict=True) for part in pair][:-1])


def _head(found: Found, storage: str) -> Text:
    verbs = ["maximize" if up else "minimize" for up in found.maximized]
    aims = ", ".join(f"{verb} {name}" for verb, name in zip(verbs, found.objectives, strict=True))
    counts = ", ".join(f"{count} {state}" for state, count in found.counts().items() if count) or "none yet"
    spent = timedelta(seconds=round(sum(results.seconds(trial) or 0 for trial in found.trials)))
    text = Text(no_wrap=True, overflow="ignore")
    text.append(f"{results.printable(found.name)}\n", style="bold")
    # Text takes no markup, so that a study may be called [red]
    text.append(f"  {aims}\n  trials: {counts}; {spent} of training (hours:minutes:seconds)\n  storage: {storage}")
    return text


def _best(found: Found) -> Table:
    """A row for each parameter, a column for each of the best trials; trial 0 beside them, which params.yaml held."""
    trials = (found.best if len(found.objectives) > 1 else found.ranked())[:MOST_COLUMNS]
    first = found.trials[0]
    if first.values and first not in trials:
        trials = [*trials, first]
    title = "On the Pareto front" if len(found.objectives) > 1 else "Best trials"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for trial in trials:
        table.add_column(f"trial {trial.number}", justify="right", overflow="fold")
    if found.importances:
        table.add_column("importance", justify="right")
    for index, name in enumerate(found.objectives):
        table.add_row(Text(name, style="bold"), *(results.short(trial.values[index]) for trial in trials))
    table.add_row("seconds", *(f"{results.seconds(trial) or 0:,.0f}" for trial in trials))
    table.add_section()
    for name in found.parameters():
        share = [f"{found.importances[name]:.0%}"] if name in found.importances else []
        table.add_row(Text(name), *(_value(trial, name) for trial in trials), *share)
    return table


def _value(trial: FrozenTrial, name: str) -> Text:
    return Text(results.printable(results.short(trial.params[name])) if name in trial.params else results.ABSENT)


def _failures(found: Found) -> list[Text]:
    """One line for each reason that trials failed for, the most frequent first."""
    numbers: dict[str, list[int]] = {}
    for trial in found.of("failed"):
        numbers.setdefault(results.reason(trial) or "no reason given", []).append(trial.number)
    often = sorted(numbers.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]
    lines = [Text(f"  {len(which)}x, as trial {which[0]}: {results.printable(why)}") for why, which in often]
    return [Text("\n").join([Text("Failed", style="bold"), *lines])] if lines else []


def _next(found: Found, storage: str) -> Text:
    name, address = shlex.quote(found.name), shlex.quote(storage)
    which = f" --trial {found.best[0].number}" if len(found.objectives) > 1 and found.best else ""
    rows = [
        (f"convtrack study apply {name}{which}", "the values into params.yaml") if found.best else None,
        (f"convtrack study report {name}", "all of it as one page"),
        (f"optuna trials --storage {address} --study-name {name}", "every trial, as Optuna prints them"),
        (f"optuna-dashboard {address}", "Optuna's own pages"),
    ]
    text = Text("Next\n", style="bold", no_wrap=True, overflow="ignore")
    lines = [f"  {row[0]}    # {row[1]}" for row in rows if row]
    return text.append("\n".join(lines), style="not bold")
