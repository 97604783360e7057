"""The record of every run in MLflow, and the only importer of it."""
