"""Name the benchmarks, or run one of them, or all: `make bench`, `make bench NAME=machine`, `make bench NAME=all`."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAST = ("presets", "curve", "page")  # the longest, the picture of its results, and the page of all


def programs() -> dict[str, tuple[str, str]]:
    """What each benchmark measures and how long it takes: the first line of its docstring, and the one with Takes."""
    found = {}
    names = sorted(path.stem for path in HERE.glob("*.py"))
    for name in sorted(names, key=lambda name: LAST.index(name) if name in LAST else -1):
        doc = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or ""
        takes = [line.removeprefix("Takes: ") for line in doc.splitlines() if line.startswith("Takes: ")]
        if takes:
            found[name] = (doc.splitlines()[0], takes[0])
    return found


def run(name: str) -> int:
    """Run one benchmark; its exit code. When this process is to end, so is it."""
    child = subprocess.Popen([sys.executable, str(HERE / f"{name}.py")])
    try:
        return child.wait()
    except KeyboardInterrupt:  # the terminal has sent it to the benchmark, too
        return child.wait()
    except SystemExit:
        child.terminate()
        child.wait()
        raise


def main() -> int:
    """List, or run."""
    known = programs()
    name, *arguments = sys.argv[1:] or [""]
    if not name:
        for program, (what, takes) in known.items():
            print(f"make bench NAME={program:20} {what} ({takes})")
        print(f"make bench NAME={'all':20} all of these, one after the other")
        print('Options follow in ARGS, as in: make bench NAME=machine ARGS="--help"')
        return 0
    if name != "all" and name not in known:
        print(f"no benchmark is called {name!r}. There are: {', '.join(known)}, all", file=sys.stderr)
        return 2
    if name == "all" and arguments:
        print("all takes no options, since each benchmark has its own", file=sys.stderr)
        return 2
    if name != "all":
        os.execv(sys.executable, [sys.executable, str(HERE / f"{name}.py"), *arguments])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for program in known:
        print(f"\n{program}\n", flush=True)
        code = run(program)
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
