"""Parts that a machine may lack, such as a browser: the tests that need one are skipped where it is missing.

The reason of each skip begins with the name of its part. CONVTRACK_NO_SKIP lists parts that are there, separated by
commas: a skip for one of those is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

PARTS = {
    "chromium": "a browser",
    "axe": "axe-core, which .ci/run installs",
    "archive": "all of CIFAR-10 as JPEG images, named by CONVTRACK_CIFAR10_JPEG",
    "pytorch": "an environment with PyTorch, which make bench NAME=pytorch makes",
    "mount": "the right to mount a file system",
    "pip-audit": "pip-audit, from the package registry",
    "osv": "the service that knows vulnerabilities",
}


def missing(part: str, details: str = "") -> str:
    """The reason for skipping a test that needs `part`."""
    return f"{part}: there is not {PARTS[part]}{details and f': {details}'}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Fail a test that was skipped although its part is there, or without naming a part."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        part = reason.partition(":")[0]
        required = os.environ.get("CONVTRACK_NO_SKIP", "").split(",")
        if part not in PARTS or part in required:
            report.outcome = "failed"
            what = f"CONVTRACK_NO_SKIP has {part}" if part in PARTS else "it names no part that tests/parts.py has"
            report.longrepr = f"skipped, but {what}. {reason}"
    return report
