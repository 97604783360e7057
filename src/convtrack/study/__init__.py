"""Studies: Optuna's search over the knobs of params.yaml. The only room that imports optuna.

`space` says what is searched, `sampling` how, `storage` where it is kept, `fingerprint` whether two searches are one.
"""
