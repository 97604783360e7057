"""Studies: Optuna searches over the parameters of params.yaml. Only this package imports optuna.

`session` opens a study, `run` works on it, `trial` is the process of one trial, `reporting` reports how trials
end, `confirmation` trains the best trials with new seeds.
"""
