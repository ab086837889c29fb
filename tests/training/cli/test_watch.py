import pytest

from palaestra.training.cli.main import run

TINY = ["--steps", "64", "--num-envs", "2", "--agent.rollout-length", "16", "--agent.epochs", "1"]


@pytest.fixture
def train(tmp_path):
    def trained(env, *words):
        run_dir = tmp_path / "run"
        more = ["--evaluate-episodes", "1", "--track", "none", "--out", str(run_dir)]
        assert run(["train", "ppo", "--env", env, *TINY, *more, *words]) == 0
        return str(run_dir)

    return trained


@pytest.fixture
def window(monkeypatch):
    """A display that nobody looks at."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def test_each_episode_is_told(train, window, capsys):
    run_dir = train("CartPole-v1", "--env-kwargs", "max_episode_steps=5")
    capsys.readouterr()
    assert run(["watch", run_dir, "--episodes", "2"]) == 0
    assert capsys.readouterr().out == "return 5.00 in 5 steps\n" * 2


def test_an_environment_that_only_draws_pictures_has_a_window_too(train, window, capsys):
    run_dir = train("palaestra/Catch-v0", "--env-kwargs", "max_episode_steps=2")
    capsys.readouterr()
    assert run(["watch", run_dir, "--episodes", "1"]) == 0
    assert "in 2 steps" in capsys.readouterr().out


def test_an_environment_without_pictures_is_named(train, window, capsys):
    run_dir = train("palaestra/Recall-v0")
    capsys.readouterr()
    assert run(["watch", run_dir]) == 2
    assert "palaestra/Recall-v0" in capsys.readouterr().err


def test_without_a_display_it_says_how_to_film(train, monkeypatch, capsys):
    run_dir = train("CartPole-v1")
    capsys.readouterr()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert run(["watch", run_dir]) == 2
    error = capsys.readouterr().err
    assert f"palaestra evaluate {run_dir} --video videos" in error
    assert len(error.strip().splitlines()) == 1


def test_what_to_type_instead_of_a_window_has_trust_where_that_is_needed(
    train, monkeypatch, capsys, tmp_path
):
    file = tmp_path / "watched_of_mine.py"
    file.write_text("from gymnasium.envs.classic_control import CartPoleEnv as Mine\n")
    run_dir = train(f"{file}:Mine", "--env-kwargs", "max_episode_steps=20")
    capsys.readouterr()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert run(["watch", run_dir, "--trust"]) == 2
    assert f"palaestra evaluate {run_dir} --video videos --trust" in capsys.readouterr().err
