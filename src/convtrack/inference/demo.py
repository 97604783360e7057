"""What the page of `convtrack demo` shows of a picture: its probabilities, and the most similar training images."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from typing import Any

import numpy as np
from PIL import Image

from convtrack.datasets.images import SUFFIXES, UnreadableImageError
from convtrack.errors import escaped
from convtrack.inference.classifier import Classifier
from convtrack.inference.neighbours import Features, Neighbours
from convtrack.pages.render import render

MOST_BYTES = 32 * 2**20  # of an upload
GUESSES = 5
SIMILAR = 6


class Demo:
    """Answers for one model; `neighbours` is None where there are no training images, for the reason `why`."""

    def __init__(
        self, classifier: Classifier, features: Features, neighbours: Neighbours | None, *, model: str, why: str = ""
    ) -> None:
        self.classifier, self.features, self.neighbours = classifier, features, neighbours
        self.model, self.why = model, why
        self._one_at_a_time = threading.Lock()

    def page(self) -> str:
        """The page, which needs nothing but this server."""
        height, width, _ = self.classifier.image_shape
        count = len(self.classifier.classes)
        lead = [
            f"Drop a picture here, choose one or paste one. It is resized to {width} x {height} pixels and stays on "
            f"this machine. The model knows {count} classes, and gives each picture to one of them, whatever it shows."
        ]
        content = {"lead": lead, "why": self.why, "accept": ",".join(SUFFIXES), "most": MOST_BYTES}
        common = {"title": "Demo", "headline": "Classify a picture", "sections": {}, "tiles": [], "origin": self.model}
        return render("convtrack.inference", "demo.html", common | content)

    def answer(self, picture: bytes) -> dict[str, Any]:
        """Labels with probabilities, and similar training images. Raises UnreadableImageError."""
        if not picture:
            raise UnreadableImageError("an empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's
            pixels = self.classifier.prepare(picture)
        with self._one_at_a_time:
            vectors, probabilities = self.features.of(pixels[None])
        if not np.isfinite(probabilities).all():
            raise UnreadableImageError("the model returns numbers that are not finite for it")
        order = np.argsort(-probabilities[0], kind="stable")[:GUESSES]
        guesses = [
            {"label": escaped(self.classifier.classes[number]), "probability": float(probabilities[0][number])}
            for number in order
        ]
        return {"guesses": guesses, "similar": self._similar(vectors[0])}

    def _similar(self, vector: np.ndarray) -> list[dict[str, Any]]:
        found = self.neighbours
        if found is None:
            return []
        return [
            {
                "label": escaped(found.labels[number]),
                "name": escaped(found.names[number]),
                "similarity": similarity,
                "image": _png(found.images[number]),
            }
            for number, similarity in found.nearest(vector, SIMILAR)
        ]


def _png(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
