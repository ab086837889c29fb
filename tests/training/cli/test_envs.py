"""`palaestra envs`, and what reaches stdout of commands that print JSON."""

import json
import subprocess
import sys

import pytest

from palaestra.training.cli.main import run

NOISY = """
import ctypes
import sys

from palaestra.envs.tasks.corridor import Corridor


class Noisy(Corridor):
    def reset(self, *, seed=None, options=None):
        print("reset")
        ctypes.CDLL(None).puts(b"from C")
        return super().reset(seed=seed, options=options)

    def step(self, action):
        sys.stdout.write("step")
        return super().step(action)

    def __del__(self):
        print("the end")


class Unlucky(Noisy):
    def reset(self, *, seed=None, options=None):
        print(self.no_such_thing)
"""


@pytest.mark.parametrize(("name", "code"), [("Noisy", 0), ("Unlucky", 2)])
def test_json_is_all_on_stdout_whatever_environments_print(tmp_path, name, code):
    (tmp_path / "noisy_of_mine.py").write_text(NOISY)
    words = ["envs", "check", f"noisy_of_mine:{name}", "--env-kwargs", "max_episode_steps=50", "--json"]
    command = [sys.executable, "-m", "palaestra.training.cli.main", *words]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == code, finished.stderr
    assert json.loads(finished.stdout)["ok"] == (code == 0)
    if code == 0:
        assert finished.stdout.count("\n") == 1
        assert all(said in finished.stderr for said in ("reset", "from C", "step", "the end"))


def test_evaluations_as_json_are_all_on_stdout(tmp_path, monkeypatch, capfd):
    (tmp_path / "noisy_of_mine.py").write_text(NOISY)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["ppo", "--env", "noisy_of_mine:Noisy", "--env-kwargs", "max_episode_steps=20", "--num-envs", "2"]
    assert run(["train", *words, "--steps", "300", "--track", "none", "--out", str(tmp_path / "run")]) == 0
    capfd.readouterr()
    assert run(["evaluate", str(tmp_path / "run"), "--episodes", "2", "--json", "--trust"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["episodes"] == 2 and "reset" in err and "from C" in err
    print("and stdout is what it was")
    assert capfd.readouterr().out == "and stdout is what it was\n"


def test_a_check_says_which_agents_can_train(capsys):
    assert run(["envs", "check", "Pendulum-v1"]) == 0
    assert "\nagents: ddpg, ppo, reinforce\nPendulum-v1: ok" in capsys.readouterr().out
