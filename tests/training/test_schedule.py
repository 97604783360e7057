"""The learning rate over the steps."""

from __future__ import annotations

import pytest

from convtrack.params.train import Schedule
from convtrack.training.schedule import make_schedule


def rates(name, warmup, steps=100, peak=2.0):
    schedule = make_schedule(Schedule(name=name, warmup=warmup), peak, steps)
    return [float(schedule(step)) for step in range(steps)]


def test_a_constant_rate_is_the_peak_at_every_step():
    assert rates("constant", 0.0) == [2.0] * 100


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_decay_falls_from_the_peak_to_almost_nothing(name):
    values = rates(name, 0.0)
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(2.0, rel=0.01)
    assert 0 < values[-1] < 0.02


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_the_warmup_climbs_to_the_peak_over_its_share_of_the_steps(name):
    values = rates(name, 0.2)
    assert values[:20] == sorted(values[:20])
    assert values[0] > 0
    assert max(values) == pytest.approx(2.0, rel=0.03)
    assert 19 <= values.index(max(values)) <= 21


def test_linear_and_cosine_are_at_half_the_peak_half_way():
    for name in ("linear", "cosine"):
        assert rates(name, 0.0)[50] == pytest.approx(1.0, rel=0.02)
