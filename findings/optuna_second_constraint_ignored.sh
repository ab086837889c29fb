#!/usr/bin/env bash
# optuna 5.0.0, Python 3.11
# Date: 2026-11-28
#
# A user would expect: setting a constraint again replaces its value (as a later
# report or user attribute does), and a trial that never states its constraint is
# not called feasible while all others state that they break it.
#
# Behaviour: the second set_constraint of one key is ignored with a warning, so the
# first, optimistic value stays; and a trial without the constraint counts as
# feasible and wins best_trial against better ones that break it.
#
# Seen:
#   constraint c set to -1.0, then 5.0: {'c': -1.0}
#   warning: The constraint value is ignored because this constraint `key='c'` is already set.
#   values [0.0, 1.0, 100.0], stated constraints [{'c': 1.0}, {'c': 1.0}, {}]: best is trial 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet optuna==5.0.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def twice(trial):
    trial.set_constraint("c", -1.0)
    trial.set_constraint("c", 5.0)
    return trial.suggest_float("x", 0, 1)


def last_states_none(trial):
    trial.suggest_float("x", 0, 1)
    if trial.number < 2:
        trial.set_constraint("c", 1.0)
    return [0.0, 1.0, 100.0][trial.number]


study = optuna.create_study()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    study.optimize(twice, n_trials=1)
constraints = study.trials[0].constraints
messages = [str(warning.message) for warning in caught if "ignored" in str(warning.message)]
print("constraint c set to -1.0, then 5.0:", constraints)
print("warning:", *messages)

study = optuna.create_study()
study.optimize(last_states_none, n_trials=3)
values = [trial.value for trial in study.trials]
stated = [trial.constraints for trial in study.trials]
print(f"values {values}, stated constraints {stated}: best is trial", study.best_trial.number)

assert constraints == {"c": -1.0} and len(messages) == 1
assert study.best_trial.number == 2
PYTHON
