"""The stages of the pipeline: one pure function each, and a thin `run` that reads and writes files."""
