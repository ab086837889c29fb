"""Nothing is left in the folder where one works."""

import numpy as np
import pytest

from palaestra.envs.make import EnvSpec, make_single
from palaestra.envs.registry import find_environment


def test_mujoco_leaves_no_file_and_makes_no_noise(tmp_path, monkeypatch, capfd):
    pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    # The model of this one is deprecated, of which MuJoCo 4 warns when it is made.
    env = make_single(EnvSpec("HalfCheetah-v5", 1), find_environment("HalfCheetah-v5"))
    env.reset(seed=0)
    env.unwrapped.data.qpos[:] = 1e12
    env.unwrapped.do_simulation(np.zeros(6), 5)
    env.close()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_handler_of_the_users_own_is_kept(monkeypatch):
    mujoco = pytest.importorskip("mujoco")
    before = mujoco.get_mju_user_warning()
    try:
        mujoco.set_mju_user_warning(print)
        make_single(EnvSpec("HalfCheetah-v5", 1), find_environment("HalfCheetah-v5")).close()
        assert mujoco.get_mju_user_warning() is print
    finally:
        mujoco.set_mju_user_warning(before)
