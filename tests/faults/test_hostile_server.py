"""Downloads from servers that do everything wrong in any order: hypothesis plays them, and a proxy before them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from convtrack.datasets import fetch
from convtrack.datasets.fetch import Limits, MirrorsFailedError, Source
from tests.datasets import hostile
from tests.limits import files_of_at_most

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

EXAMPLES = int(os.environ.get("CONVTRACK_FUZZ", "200")) // 2
ENDED: Counter[str] = Counter()  # how fetching did
BODY = bytes(range(256)) * 400
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()
LIMITS = Limits(connect=1, silence=0.5, rate=5_000, window=0.5, attempts=2, pause=0)
REQUESTS = (2 * LIMITS.attempts + 1) * 31  # to one mirror: each attempt may begin again once, and be redirected
IN_TIME = ("bytes a second", "silent for too long")  # what a server that does its best may be told on a busy machine

PATHS = ("/a", "/b", "/c")
BEHAVED = {
    "whole": hostile.whole,
    "without range": hostile.without_range,
    "without length": hostile.without_length(),
}
PASSING = {
    "500": hostile.status(500),
    "503": hostile.status(503),
    "reset": hostile.reset,
    **{f"cut after {count}": hostile.cut_after(count) for count in (0, 1, 50_000, SIZE - 1)},
    **{f"reset after {count}": hostile.reset_after(count) for count in (1000, SIZE)},
    "cut without length": hostile.without_length(50_000),
}
WRONG = {
    "404": hostile.status(404),
    "416": hostile.status(416),
    "escapes": hostile.reason("\x1b[2J" * 100),
    "other bytes": hostile.other_bytes,
    "other part": hostile.other_part,
    "other part in disguise": hostile.other_part_in_disguise,
    "gzip": hostile.gzipped,
    "endless": hostile.endless,
    "web page": hostile.web_page,
    "disguised web page": hostile.disguised_web_page,
    **{f"length {said[:7]}": hostile.length(said) for said in ("7", "9" * 400, "9" * 5000, "-1", "1, 2")},
    **{f"to {where}": hostile.redirect_to(where) for where in ("/a", "/b", "file:///etc/hostname", "http://[", "\xff")},
    "endless redirect": hostile.endless_redirect("/b"),
}
HANGING = {
    "stalled": hostile.stalled_after(1000),
    "silent": hostile.silent,
    "trickle": hostile.trickle,
    "endless headers": hostile.endless_headers,
    "endless trailers": hostile.endless_trailers,
    "endless continue": hostile.endless_continue,
}
ANSWERS = BEHAVED | PASSING | WRONG | HANGING

misbehaviour = st.one_of(  # what hangs costs seconds
    *[st.sampled_from(sorted(kind)) for kind in (BEHAVED, PASSING, PASSING, WRONG, WRONG, WRONG)],
    st.integers(0, 5).flatmap(lambda dice: st.sampled_from(sorted(WRONG if dice else HANGING))),
)
parts = st.sampled_from([b"something else", BODY[:1000], BODY[::-1][:50_000], BODY[:-1], BODY + b"more", BODY[::-1]])


class Mirrors(RuleBasedStateMachine):
    """Three mirrors, one folder, and at times a proxy."""

    @initialize()
    def open(self) -> None:
        self.stack = contextlib.ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.server = self.stack.enter_context(hostile.running())
        self.proxy = self.stack.enter_context(hostile.running())
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        self.environment = patch
        self.proxied = False
        for path in PATHS:
            self.server.serve(path, BODY)

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @rule(path=st.sampled_from(PATHS), answers=st.lists(misbehaviour, min_size=1, max_size=4))
    def misbehave(self, path: str, answers: list[str]) -> None:
        self.server.serve(path, BODY, *(ANSWERS[name] for name in answers))

    @rule(path=st.sampled_from(PATHS))
    def behave(self, path: str) -> None:
        self.server.serve(path, BODY)

    @rule(content=parts)
    def leave_a_part(self, content: bytes) -> None:
        (self.folder / "a.tar.gz.partial").write_bytes(content)

    @rule(answers=st.lists(st.sampled_from(["reset", "503", "cut after 50000", "whole"]), min_size=1, max_size=3))
    def stand_between(self, answers: list[str]) -> None:
        self.environment.setenv("http_proxy", self.proxy.address)
        self.proxied = True
        for path in PATHS:
            self.proxy.serve(f"{self.server.address}{path}", BODY, *(ANSWERS[name] for name in answers))

    @rule()
    def step_aside(self) -> None:
        self.environment.delenv("http_proxy", raising=False)
        self.proxied = False

    @rule(paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True))
    def fetch(self, paths: list[str]) -> None:
        urls = [f"{self.server.address}{path}" for path in paths]
        best = [url for url in urls if self._will_do(url)]
        for server in (self.server, self.proxy):
            server.ranges.clear()
        partial = self.folder / "a.tar.gz.partial"
        try:
            with files_of_at_most(SIZE + 2**16):
                path = fetch.fetch(Source("a.tar.gz", tuple(urls), SHA256, SIZE), self.folder, LIMITS)
        except MirrorsFailedError as error:
            ENDED["all mirrors failed"] += 1
            note(str(error))
            self._check(error, urls, best)
            assert not partial.exists() or partial.stat().st_size <= SIZE
        else:
            ENDED["the file came"] += 1
            assert path.read_bytes() == BODY
            assert not partial.exists()
            path.unlink()
        assert not list(self.folder.glob("*.gz"))
        asked = Counter(path for server in (self.server, self.proxy) for path, _ in server.ranges)
        assert max(asked.values(), default=0) <= REQUESTS * len(urls)  # they redirect to each other

    def _will_do(self, url: str) -> bool:
        """Whether nothing but good is to come from there."""
        server, path = (self.proxy, url) if self.proxied else (self.server, url.removeprefix(self.server.address))
        return set(server.answers[path]) <= set(BEHAVED.values())

    def _check(self, error: MirrorsFailedError, urls: list[str], best: list[str]) -> None:
        assert list(error.causes) == urls
        for url, cause in error.causes.items():
            assert f"{url}: {cause}" in error.message
            assert cause.strip()
            assert cause.isprintable()
            assert len(cause) < 400
        for url in best:
            assert any(said in error.causes[url] for said in IN_TIME)


@pytest.fixture(autouse=True, scope="module")
def _counted() -> Iterator[None]:
    yield
    print(dict(ENDED))  # noqa: T201


TestMirrors: Any = Mirrors.TestCase
TestMirrors.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
