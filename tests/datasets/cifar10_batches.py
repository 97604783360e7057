"""Archives of CIFAR-10 in its official forms, with a few images of noise in each batch."""

import dataclasses
import hashlib
import pickle

import numpy as np

from .samples import as_tar

BATCH = 12
RNG = np.random.default_rng(0)
PIXELS = [RNG.integers(0, 256, (BATCH, 3072), dtype=np.uint8) for _ in range(6)]
LABELS = [RNG.integers(0, 10, BATCH) for _ in range(6)]


def records(pixels, labels):
    return np.hstack([np.asarray(labels, dtype=np.uint8)[:, np.newaxis], pixels]).tobytes()


def pickled(pixels, labels):
    return pickle.dumps({b"data": pixels, b"labels": [int(label) for label in labels]}, protocol=2)


def small(form, tmp_path, pack, *urls, labels=LABELS):
    """The form `form` of an archive of a few images each batch: (the form, the archive)."""
    members = {n: pack(p, y) for n, p, y in zip([*form.train, *form.test], PIXELS, labels, strict=True)}
    others = {"cifar-10-batches-bin/readme.html": b"<html>", "batches.meta.txt": b"airplane"}
    # as in the official archive, batches come in no order
    shuffled = dict(reversed(members.items()))
    path = as_tar({**others, **shuffled}, tmp_path / form.name)
    official = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size, "urls": urls}
    train, test = dict.fromkeys(form.train, BATCH), dict.fromkeys(form.test, BATCH)
    return dataclasses.replace(form, **official, train=train, test=test), path
