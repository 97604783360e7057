"""Fill in a template; the result needs no other file and no network."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import jinja2


def render(package: str, template: str, content: dict[str, Any]) -> str:
    """Fill in one of the templates of `package`, which extends this package's page.html.

    Every value becomes text and never markup, except markupsafe.Markup. `content` has what page.html names in its first
    lines, and what the template itself needs.
    """
    loaders = [jinja2.PackageLoader(package), jinja2.PackageLoader("convtrack.pages")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content | {"version": importlib.metadata.version("convtrack")})
