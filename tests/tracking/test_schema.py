"""A new database has the tables that MLflow's migrations create."""

from __future__ import annotations

from convtrack.tracking import schema


def test_schema_has_the_tables_that_the_migrations_of_this_mlflow_create():
    # the order of some constraints and indices differs from run to run
    kept, now = (
        sorted(line.strip("\t ,") for line in script.splitlines())
        for script in (schema.FILE.read_text(encoding="utf-8"), schema.migrated())
    )
    assert kept == now, "run python -m convtrack.tracking.schema"


def test_a_schema_of_another_mlflow_is_not_used(tmp_path, monkeypatch):
    older = tmp_path / "schema.sql"
    older.write_text("-- MLflow 3.1.0, written by convtrack.tracking.schema\nCREATE TABLE runs (id);\n")
    monkeypatch.setattr(schema, "FILE", older)
    schema.create(tmp_path / "mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()
