"""Names of version 0.1.0 that runs and commands still hold."""

import numpy as np
import pytest

from palaestra.envs import moved
from palaestra.envs.make import EnvSpec, make_envs
from palaestra.envs.registry import find_environment
from palaestra.envs.wrappers.by_name import find_wrapper

OLD = {
    "palaestra.envs.minigrid:onehot": "palaestra.envs.wrappers.minigrid:onehot",
    "palaestra.envs.minigrid:picture(tile_size=4)": "palaestra.envs.wrappers.minigrid:picture(tile_size=4)",
    "palaestra.envs.atari:preprocess": "palaestra.envs.wrappers.atari:preprocess",
    "palaestra.envs.wrappers:ShowActionMask": "palaestra.envs.wrappers.action_mask:ShowActionMask",
    "palaestra.envs.wrappers:BytePictures": "palaestra.envs.wrappers.repairs:BytePictures",
    "palaestra.envs.wrappers:FreshWorld": "palaestra.envs.wrappers.repairs:FreshWorld",
}


@pytest.mark.parametrize("old", OLD)
def test_old_names_of_wrappers_work_and_name_the_new_one_once(old, capsys):
    moved._report.cache_clear()
    assert find_wrapper(old) == find_wrapper(OLD[old])
    find_wrapper(old)
    path, new = old.partition("(")[0], OLD[old].partition("(")[0]
    assert capsys.readouterr().err == f"note: {path} is now {new}\n"


def test_old_names_of_environments_work(capsys):
    moved._report.cache_clear()
    assert find_environment("palaestra.envs.corridor:Corridor").id.endswith("tasks.corridor:Corridor")
    assert capsys.readouterr().err == (
        "note: palaestra.envs.corridor:Corridor is now palaestra.envs.tasks.corridor:Corridor\n"
    )
    envs = make_envs(EnvSpec("palaestra.envs.corridor:Corridor", 2))
    assert np.isfinite(envs.reset()).all()
    assert find_environment("palaestra.envs.catch:palaestra/Catch-v0").id == "palaestra/Catch-v0"


def test_worker_processes_do_not_repeat_it(capfd):
    moved._report.cache_clear()
    wrapper = "palaestra.envs.wrappers:ShowActionMask"
    envs = make_envs(EnvSpec("Taxi-v4", 2, wrappers=(wrapper,), backend="async", workers=2))
    try:
        assert envs.reset()["action_mask"].shape == (2, 6)
    finally:
        envs.close()
    assert capfd.readouterr().err.count(wrapper) == 1


def test_other_names_stay_as_they_are(capsys):
    for name in ("CartPole-v1", "gymnasium.wrappers:TimeLimit(max_episode_steps=3)", "ALE/Pong-v5"):
        assert moved.current_name(name) == name
    assert capsys.readouterr().err == ""
