"""convtrack: a DVC pipeline that trains image-classifying convnets, with an MLflow run for every number.

The packages, each of which imports only from those below it:

    cli         the commands, which wire the rest together
    study       the only importer of Optuna: space, storage, trials as processes, results
    tracking    the only importer of MLflow
    report      tables and pictures, from the files that stages wrote
    stages      inspect -> download -> preprocess -> train -> evaluate: one pure function each, and a thin run()
    datasets    one module for each source of images
    models      one module for each architecture
    training    optimizer, schedule, augmentation, early stopping, precision: one idea for each module
    evaluation  labels and probabilities in, numbers out
    params      params.yaml -> one checked, frozen Params; presets; edits that keep comments
    files       every file name, and every read and write
    system      what the operating system does to a process: signals, locks, parent watchdog, processor
    errors      what goes wrong on purpose
"""

import os as _os

# Read by TensorFlow when it is first imported. oneDNN's convolutions are off by default where a CPU has no AVX512_VNNI;
# on an AVX2 machine they halve the CPU time of a training step (docs/decisions/cpu-speed.md). Own settings win.
_os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong comes as an exception, too
_os.environ.setdefault("KERAS_BACKEND", "tensorflow")
