"""The terms under which each data set may be used, for the model card.

They are apart from the modules of the sources, so that `evaluate`, which writes the card, depends on nothing else here.
A new source has an entry in TERMS.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """title: the name of the data set in text. words: its terms, in Markdown.

    license: an identifier from https://huggingface.co/docs/hub/repositories-licenses. hub: the id of the data set on
    Hugging Face, empty if it is not there.
    """

    title: str
    words: str
    license: str = "unknown"
    hub: str = ""


def _cifar(title: str, hub: str) -> Terms:
    return Terms(
        title=title,
        words=(
            "The data has no formal licence. [Its page](https://www.cs.toronto.edu/~kriz/cifar.html) asks you to cite "
            "the report if you use it: Alex Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009."
        ),
        hub=hub,
    )


TERMS = {  # by the name of the source, as in data.name
    "cifar10": _cifar("CIFAR-10", "uoft-cs/cifar10"),
    "cifar100": _cifar("CIFAR-100", "uoft-cs/cifar100"),
    "digits": Terms(
        title="handwritten digits",
        words=(
            "The licence of the data is [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). Cite it as: "
            "E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, "
            "1998, <https://doi.org/10.24432/C50P49>. scikit-learn has its test set, which is used here."
        ),
        license="cc-by-4.0",
    ),
    "image_folder": Terms(
        title="an image folder",
        words="**The terms of these images are not known. Add them here, and as `license` above, before you publish.**",
    ),
}


def of(name: str) -> Terms:
    """The terms of the source `name`; of an unknown one, that they are not known."""
    return TERMS.get(name, Terms(title=name, words=TERMS["image_folder"].words))
