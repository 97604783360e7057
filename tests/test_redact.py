"""No secret of an address is shown, and the rest of it is."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtrack.redact import has_password, redacted, redacted_uri


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:p@ss@host:5000", "http://host:5000"),
        ("https://user:p/ss@host/mlflow", "https://host/mlflow"),
        ("https://user:12/34@host", "https://host"),
        ("https://user:p?ss#2@host/x", "https://host/x"),
        ("https://dapi123@host", "https://host"),  # a token stands where the user does
        ("grpc://user:geheim@host:13000", "grpc://host:13000"),
        ("http://host/api?password=geheim&step=3", "http://host/api?password=***&step=3"),
        ("http://host/x?step=3&X-Amz-Signature=ab%2Fc", "http://host/x?step=3&X-Amz-Signature=***"),
        ("http://host/x?access_token=geheim", "http://host/x?access_token=***"),
        ("postgresql://ann:p@ss/w@host:5432/db", "postgresql://ann:***@host:5432/db"),
        ("postgresql+psycopg://ann@/db?host=/tmp/s&sslpassword=x", "postgresql+psycopg://ann@/db?host=/tmp/s&sslpassword=***"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3Dgeheim", "mssql+pyodbc:///?odbc_connect=***"),
    ],
)  # fmt: skip
def test_secrets_are_taken_out_wherever_they_stand(uri: str, shown: str) -> None:
    assert redacted_uri(uri) == shown
    assert redacted_uri(shown) == shown
    assert redacted(f"cannot reach {uri} now", uri) == f"cannot reach {shown} now"


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////home/me@work:a/mlflow.db",
        "sqlite:///runs.db?mode=rwc",
        "http://host:5000/#/experiments/1",
        "https://host/@scope/images@1.0.zip",
        "/home/me@work/study.journal",
        "postgresql://ann@host/db?keepalives=1&connect_timeout=10",
        "databricks://profile",
        "",
    ],
)
def test_what_is_no_secret_stays(uri: str) -> None:
    assert redacted_uri(uri) == uri
    assert not has_password(uri)


@given(st.text(string.ascii_letters + string.digits + string.punctuation, min_size=6), st.booleans())
def test_no_password_whatever_its_characters_is_shown(secret: str, database: bool) -> None:
    scheme = "postgresql" if database else "http"
    uri = f"{scheme}://xx:{secret}@host/db"
    assert has_password(uri)
    assert secret not in redacted_uri(uri).replace("***", "")
    assert redacted_uri(uri).endswith("host/db")
    assert secret not in redacted(f"no: {secret!r} or {secret} in {uri}", uri)


def test_what_a_parser_has_made_of_a_password_is_not_in_an_error() -> None:
    uri = "postgresql://ann:hor%40se/battery@host/db"
    said = redacted('could not translate "battery@host" for hor@se/battery, hor%40se%2Fbattery', uri)
    assert not any(part in said for part in ("hor@se", "hor%40se", "battery"))
    assert redacted("connection to host=h user=u password=geheim failed") == (
        "connection to host=h user=u password=*** failed"
    )


def test_an_address_without_its_scheme_loses_its_password_too() -> None:
    assert redacted_uri("ann:geheim@host/db") == "host/db"
    assert redacted_uri("sqlite://ann:geheim@host/db") == "sqlite://host/db"


def test_a_password_is_seen_where_the_address_is_not_well_formed() -> None:
    assert has_password("http://user:p/ss@host")
    assert has_password("mysql://host/db?ssl_password=x")
    assert not has_password("https://host/a.tar.gz?token=abc")
