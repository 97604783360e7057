"""make audit: the packages of the lock files, held against known vulnerabilities by pip-audit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import parts

KNOWN = {"name": "pillow", "version": "9.0.0", "id": "PYSEC-2022-168"}  # all of them fixed in 9.0.1 or later
LOCKED = "{name}=={version} \\\n    --hash=sha256:" + "0" * 64 + "\n"
CLEAN = LOCKED.format(name="pillow", version="99.0.0")
OUT_OF_REACH = re.compile(r"requests\.exceptions\.|Dependency not found on PyPI and could not be audited")


class Advisories(BaseHTTPRequestHandler):
    """Answers as the database of OSV does, and knows one vulnerability."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked["version"] == KNOWN["version"] and asked["package"]["name"] == KNOWN["name"]
        affected = {"package": {"name": KNOWN["name"], "ecosystem": "PyPI"}}
        answer = {"vulns": [{"id": KNOWN["id"], "summary": "a hole", "affected": [affected]}]} if known else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"--vulnerability-service osv --osv-url http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


@pytest.fixture
def place(tmp_path: Path, root: Path) -> Path:
    shutil.copy(root / "Makefile", tmp_path)
    (tmp_path / "requirements-uv.lock").write_text("")
    return tmp_path


def made(place: Path, target: str, lock: str = "", arguments: str = "") -> tuple[int, str]:
    """Run `make target` in `place` with the environment of these tests: the exit status, and what it printed."""
    (place / "requirements.lock").write_text(lock)
    # as if the environment were there and up to date, so that none is made
    environment = [f"BIN={Path(sys.prefix) / 'bin'}", "-o", ".venv/.ready"]
    done = subprocess.run(
        ["make", *environment, *target.split(), f"ARGS={arguments}"],
        cwd=place,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if "Failed to fetch" in done.stdout or "not found in the package registry" in done.stdout:
        pytest.skip(parts.missing("pip-audit", done.stdout[-300:]))
    return done.returncode, done.stdout


def test_audit_is_explained_and_is_no_part_of_the_tests(place: Path) -> None:
    assert "make audit" in made(place, "help")[1]
    assert "pip-audit" in made(place, "-n audit")[1]
    for target in ("test", "test-slow", "check"):
        assert "pip-audit" not in made(place, f"-n {target}")[1]


@pytest.mark.slow
def test_a_lock_file_with_a_known_vulnerability_is_reported(place: Path, database: str) -> None:
    status, said = made(place, "audit", CLEAN + LOCKED.format(name="numpy", version="2.0.0"), database)
    assert (status, "No known vulnerabilities found" in said) == (0, True), said
    status, said = made(place, "audit", CLEAN.replace("99.0.0", KNOWN["version"]), database)
    assert status == 2  # make's own
    assert "pillow" in said
    assert KNOWN["id"] in said
    assert "make audit: failed" in said
    assert not OUT_OF_REACH.search(said), said


@pytest.mark.slow
def test_without_the_service_nothing_is_passed(place: Path) -> None:
    status, said = made(place, "audit", CLEAN, "--vulnerability-service osv --osv-url http://127.0.0.1:9")
    assert status == 2
    assert "A failed look-up counts as a failure" in said
    assert OUT_OF_REACH.search(said), said


@pytest.mark.slow
def test_the_real_service_knows_that_vulnerability(place: Path) -> None:
    status, said = made(place, "audit", CLEAN.replace("99.0.0", KNOWN["version"]))
    assert status == 2, said
    if OUT_OF_REACH.search(said):
        pytest.skip(parts.missing("osv", said[-300:]))
    assert KNOWN["id"] in said
