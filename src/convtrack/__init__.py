"""convtrack: a DVC pipeline that trains image-classifying convnets, with an MLflow run for every number.

The rooms, each importing only from those below it:

    cli             the commands; wires the rest together (quickstart, presets, doctor: one command each;
                    study_commands: those of studies; root: the folder where all of them work)
    study           the only importer of Optuna: space, storage, trials as processes, how a study stands
    tracking        the only importer of MLflow
    report          tables and pictures, from the files that stages wrote
    editing         changes params.yaml and keeps its comments
    stages          download -> preprocess -> train -> evaluate; each is one pure function and a thin run()
    datasets        one file per source of images
    models          one file per architecture
    training        optimizer, schedule, augmentation, early stopping, precision: one idea per file
    metrics         labels and probabilities in, numbers out
    artifacts       every file name, and every read and write
    config          params.yaml -> one checked, frozen Params
    system          what the operating system does to a process: signals, locks, parent watchdog, processor
    errors          what goes wrong on purpose
"""

import os as _os

# Read by TensorFlow when it is first imported. oneDNN's convolutions are off by default where a CPU has no AVX512_VNNI;
# on an AVX2 machine they halve the CPU time of a training step (docs/decisions/cpu-speed.md). Own settings win.
_os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong comes as an exception, too
_os.environ.setdefault("KERAS_BACKEND", "tensorflow")
