"""The served model of a run under load: requests a second, p50, p99 and memory, beside calls without a server.

Takes: 9 minutes

`mlflow models serve` runs on this machine with its defaults. A number of clients each post one JPEG picture of 32x32
pixels at a time, over a connection that stays open, from one process. In turn with that, another process asks ONNX
Runtime, Keras, our classifier and the MLflow model directly, with the same pictures and network. Then eight clients
post for minutes, while the memory of the server is read. The network is that of params.yaml with ReLU, which all of
these can run, and is untrained.

    make bench NAME=serving
    .venv/bin/python benchmarks/serving.py --turns 1 --seconds 3 --memory-seconds 10
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import numpy as np
import psutil
from PIL import Image

DIRECT = ("ONNX Runtime", "Keras", "classifier", "MLflow model")
START = 600  # seconds that a server may take until it answers


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--turns", type=harness.positive, default=3)
    options.add_argument("--seconds", type=harness.positive, default=8, help="of each measurement")
    options.add_argument("--clients", type=harness.positive, nargs="+", default=[1, 8, 32])
    options.add_argument("--memory-seconds", type=harness.positive, default=300, help="under load of eight clients")
    wanted = options.parse_args()
    params = harness.params({})
    params["model"] = dict(params["model"]) | {"activation": "relu"}
    turns: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        folder = Path(name)
        harness.write_random_images(folder, 200, 1)
        bodies = write_pictures(folder)
        settings = {"params": params, "pictures": "pictures", "seconds": wanted.seconds}
        harness.say("making the models")
        harness.in_process("serving", settings | {"make": True}, folder=folder)
        with served(folder) as (port, process):
            load(port, bodies, 1, 2)
            for number in range(wanted.turns):
                harness.say(f"turn {number + 1} of {wanted.turns}")
                turn = harness.in_process("serving", settings | {"make": False}, folder=folder)
                for clients in wanted.clients:
                    turn[str(clients)] = load(port, bodies, clients, wanted.seconds)
                turns.append(turn)
            harness.say(f"memory, for {wanted.memory_seconds} seconds")
            memory = memory_under_load(port, bodies, process, wanted.memory_seconds)
    few, many = str(min(wanted.clients)), str(max(wanted.clients))
    figures = {
        "http_p50_over_direct": harness.middle(turn[few]["p50"] / turn["classifier"]["p50"] for turn in turns),
        "many_clients_over_few": harness.middle(turn[many]["per_second"] / turn[few]["per_second"] for turn in turns),
        "errors": sum(int(turn[str(clients)]["errors"]) for turn in turns for clients in wanted.clients),
    }
    rows = [row(way, way, turns) for way in DIRECT]
    rows += [row(str(clients), f"over HTTP, clients: {clients}", turns) for clients in wanted.clients]
    rows.append(["memory of the server, MiB: at first, at most, at the end", *(f"{mib:.0f}" for mib in ends(memory))])
    harness.report(
        wanted.out, ["", "pictures a second", "p50, ms", "p99, ms"], rows, figures=figures, turns=turns, memory=memory
    )


def row(key: str, title: str, turns: list[dict[str, dict[str, float]]]) -> list[str]:
    """The medians over the turns."""
    middles = {name: harness.middle(turn[key][name] for turn in turns) for name in ("per_second", "p50", "p99")}
    return [title, f"{middles['per_second']:.0f}", f"{middles['p50']:.2f}", f"{middles['p99']:.2f}"]


def ends(memory: list[float]) -> tuple[float, float, float]:
    """The first, the largest and the last value."""
    return memory[0], max(memory), memory[-1]


def write_pictures(folder: Path) -> list[bytes]:
    """Write 200 JPEG files into `folder`/pictures; returns the body of a request for each."""
    images = np.load(harness.files.images_path(folder / harness.files.PROCESSED, "train"))
    (folder / "pictures").mkdir()
    bodies = []
    for number, pixels in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        (folder / f"pictures/{number:03d}.jpg").write_bytes(file.getvalue())
        records = [{"image": base64.b64encode(file.getvalue()).decode()}]
        bodies.append(json.dumps({"dataframe_records": records}).encode())
    return bodies


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """`mlflow models serve` until the block ends; yields its port and its process once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    scripts = Path(sys.executable).parent
    server = subprocess.Popen(
        [str(scripts / "mlflow"), "models", "serve", "-m", "model", "--env-manager", "local", "-p", str(port)],
        cwd=folder,
        env=os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"},  # it starts uvicorn by its name
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + START
        while not answers(port):
            if server.poll() is not None or time.monotonic() > end:
                raise harness.BenchmarkError(f"mlflow models serve did not answer within {START} seconds")
            time.sleep(0.2)
        yield port, psutil.Process(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(port: int) -> bool:
    """Whether a server is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    return False


def load(port: int, bodies: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Post pictures by so many clients at once: p50 and p99 in milliseconds, requests a second, and errors."""
    times: list[float] = []
    errors: list[int] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            while time.perf_counter() < end:
                began = time.perf_counter()
                connection.request(
                    "POST", "/invocations", bodies[number % len(bodies)], {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                answer.read()
                times.append(time.perf_counter() - began)
                if answer.status != 200:
                    errors.append(answer.status)
                number += clients

    began = time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if not times:
        raise harness.BenchmarkError("the server answered no request")
    p50, p99 = 1000 * np.percentile(times, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "per_second": len(times) / took, "errors": len(errors)}


def memory_under_load(port: int, bodies: list[bytes], process: psutil.Process, seconds: int) -> list[float]:
    """The memory of the server and its children in MiB, about once a second, while eight clients post."""
    found: list[float] = []
    poster = threading.Thread(target=load, args=(port, bodies, 8, seconds))
    poster.start()
    while poster.is_alive():
        found.append(sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 2**20)
        poster.join(timeout=1)
    return found


if __name__ == "__main__":
    harness.run(main)
