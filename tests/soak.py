"""How much the tests leave to chance: little, and always the same, unless `make soak` asks for more."""

from __future__ import annotations

import os

ROUNDS = int(
    os.environ.get("CONVTRACK_SOAK", "1")
)  # repetitions of each random fault, with hypothesis 50 examples each
SEED = int(os.environ.get("CONVTRACK_SEED", "0"))
LONG = ROUNDS > 1
