"""The clones of tests/e2e."""

from tests.e2e.conftest import make_clone

__all__ = ["make_clone"]
