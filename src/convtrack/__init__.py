"""convtrack: a DVC pipeline that trains convolutional image classifiers and records every run in MLflow.

Each package imports only from those below it:

    cli         the commands, which wire the rest together
    study       the only importer of Optuna: space, storage, trials as processes, results
    tracking    the only importer of MLflow
    inference   a model file and pictures in, labels with probabilities out
    report      tables and pictures, from the files that stages wrote
    stages      inspect -> download -> preprocess -> train -> evaluate: one pure function each, and a thin run()
    datasets    one module per source of images
    models      one module per architecture
    training    optimizer, schedule, augmentation, early stopping, precision: one idea per module
    evaluation  labels and probabilities in, numbers out
    params      params.yaml -> one checked, frozen Params; presets; edits that keep comments
    files       every file name, and every read and write
    system      signals, locks, parent watchdog, processor
    errors      the exceptions that users see
"""

import os as _os

# TensorFlow reads these when it is first imported; values that are already set are kept. oneDNN is off by default on
# CPUs without AVX512_VNNI. On an AVX2 machine it halves the CPU time of a training step: docs/decisions/cpu-speed.md.
_os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors also raise exceptions
_os.environ.setdefault("KERAS_BACKEND", "tensorflow")
