"""The pipeline: download, preprocess, train, evaluate. A pure function each, and a thin `run` that reads and writes."""
