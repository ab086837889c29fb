"""Command line, folders and cycles of world models, at the size of a toy."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from gymnasium import spaces

from palaestra.agents.agent import Counter
from palaestra.envs.make import EnvSpec
from palaestra.training.cli.main import run
from palaestra.training.imagination.dyna import resume_cycle
from palaestra.training.imagination.dyna_options import CycleConfig
from palaestra.training.imagination.fits import load_world_model, resume_fit
from palaestra.training.imagination.gap import HORIZON, dream_horizon
from palaestra.training.imagination.rounds import dreamt_steps, gate, horizon, real_steps
from palaestra.training.imagination.world_model_config import resolve_names, world_model_config
from palaestra.training.run.collect import RandomActor, collect_episodes
from palaestra.training.run.loaded import load_run
from palaestra.training.run.resuming import resume_run
from palaestra.training.run.storage.checkpoint import TENSORS, latest_checkpoint
from palaestra.training.settings.config import load_config
from palaestra.training.settings.train_options import read_train_options
from palaestra.training.settings.trust import trusting
from palaestra.training.settings.usage import UsageError
from palaestra.training.tracking.metrics_file import read_metrics

from ..wandb_file import finished_run

FIT = [
    "--steps",
    "400",
    "--fit.updates",
    "60",
    "--fit.judge-every",
    "20",
    "--fit.batch-size",
    "64",
    "--track",
    "none",
]
SMALL = [
    "--dynamics.members",
    "2",
    "--dynamics.elites",
    "2",
    "--dynamics.hidden",
    "16",
    "--heads.hidden",
    "16",
]
TRAIN = ["--steps", "600", "--num-envs", "4", "--agent.rollout-length", "16", "--agent.batch-size", "32"]
TRAIN += ["--agent.epochs", "2", "--checkpoint-every", "200", "--evaluate-episodes", "2", "--track", "none"]
CYCLE = ["--fit.updates", "20", "--fit.judge-every", "10", "--fit.batch-size", "64", *TRAIN]


def command(*words):
    return run(["world-model", *map(str, words)])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "cartpole"
    assert command("fit", "--env", "CartPole-v1", *FIT, *SMALL, "--out", folder) == 0
    return folder


def parameters(run_dir):
    return (latest_checkpoint(run_dir) / TENSORS).read_bytes()


def test_a_report_has_what_was_promised(fitted, capsys, offline_wandb):
    assert command("evaluate", fitted, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert {"skill", "reward_r2", "terminal_recall", "terminal_precision", "probe_r2"} <= set(report)
    assert list(report["skill"]) == ["1", "2", "5", "10", "20", "50"]
    assert report["env"] == "CartPole-v1" and report["reward_r2"] == 1.0 and report["probe_r2"] > 0.9999
    assert json.loads((fitted / "report.json").read_text())["skill"] == report["skill"]
    assert command("evaluate", fitted, "--wandb") == 0
    (path,) = (fitted / "wandb").glob("offline-run-*/*.wandb")
    logged = finished_run(path)
    assert (logged.job_type, logged.exit_code) == ("world-model", 0)
    assert logged.summary["skill/1"] == pytest.approx(report["skill"]["1"])
    assert [row["step"] for row in logged.history if "skill by steps ahead/open loop" in row][:2] == [1, 2]
    assert "skill" in capsys.readouterr().out
    assert [row["step"] for row in read_metrics(fitted)] == [20, 40, 60]
    assert (fitted / "report.html").exists() and (fitted / "open_loop.png").exists()


def test_an_agent_trained_in_a_dream_is_evaluated_in_the_real_world(fitted, tmp_path, capsys):
    assert command("dream", fitted, "--agent", "ppo", "--out", tmp_path / "run", *TRAIN) == 0
    config = load_config(tmp_path / "run")
    assert config.env == "CartPole-v1" and config.dream.model == str(fitted)
    capsys.readouterr()
    assert run(["evaluate", str(tmp_path / "run"), "--episodes", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["env"] == "CartPole-v1" and report["steps_trained"] >= 600


def test_what_an_agent_dreams_of_getting_and_what_it_gets(fitted, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert command("dream", fitted, "--agent", "ppo", "--out", run_dir, *TRAIN) == 0
    capsys.readouterr()
    assert command("evaluate", fitted, "--policy", run_dir, "--episodes", "3", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["dream_return"]) == ["0.1", "0.5", "1.0", "1.15", "1.3"]
    # Rewards are 1 a step in both worlds, and no dream outlasts the time limit.
    assert all(1 <= value <= 500 for value in [report["real_return"], *report["dream_return"].values()])
    assert command("evaluate", fitted, "--policy", tmp_path / "nowhere") == 2


def test_dream_training_is_resumed_exactly(fitted, tmp_path):
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    # The preset's schedules depend on the total, so a shorter run that is made longer has none.
    fixed = ["--agent.learning-rate", "0.001", "--agent.clip-range", "0.2", "--dream.horizon", "7"]
    assert command("dream", fitted, "--agent", "ppo", "--out", alone, *TRAIN, *fixed) == 0
    short = [*TRAIN, *fixed, "--steps", "300"]
    assert command("dream", fitted, "--agent", "ppo", "--out", stopped, *short) == 0
    assert run(["train", "--resume", str(stopped), "--steps", "600"]) == 0
    assert parameters(alone) == parameters(stopped)


def test_a_fit_is_resumed_exactly(fitted, tmp_path, monkeypatch):
    from palaestra.training.imagination import fits as world_models

    saves = []

    def interrupted(run_dir, step, parts, keep=2):
        saves.append(real(run_dir, step, parts, keep))
        if step == 20:
            raise KeyboardInterrupt
        return saves[-1]

    real = world_models.save_checkpoint
    monkeypatch.setattr(world_models, "save_checkpoint", interrupted)
    folder = tmp_path / "again"
    with pytest.raises(SystemExit, match="130"):
        command("fit", "--env", "CartPole-v1", *FIT, *SMALL, "--out", folder)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="not been fitted to the end; go on with"):
        load_world_model(folder)
    assert command("fit", "--resume", folder) == 0
    assert parameters(folder) == parameters(fitted)
    before = json.loads((fitted / "report.json").read_text())
    assert all(before[name] == value for name, value in resume_fit(folder).items())


def interrupt(*given, **named):
    raise KeyboardInterrupt


def test_a_fit_that_was_stopped_while_it_collected_goes_on(fitted, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "again"
    monkeypatch.setattr("palaestra.training.imagination.fits.collect_episodes", interrupt)
    with pytest.raises(SystemExit, match="130"):
        command("fit", "--env", "CartPole-v1", *FIT, *SMALL, "--out", folder)
    assert f"go on with: palaestra world-model fit --resume {folder}\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert command("fit", "--resume", folder) == 0
    assert parameters(folder) == parameters(fitted)


def test_dyna_that_was_stopped_in_its_first_round_goes_on(tmp_path, monkeypatch):
    words = [
        "train",
        "ppo",
        "--env",
        "CartPole-v1",
        "--world-model",
        "auto+ensemble",
        "--rounds",
        "2",
        *CYCLE,
    ]
    words += ["--steps", "200", "--dream-ratio", "2", "--min-skill", "-1e9", "--min-recall", "0"]
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    assert run([*words, "--out", str(alone)]) == 0
    monkeypatch.setattr("palaestra.training.imagination.rounds.run_fit", interrupt)
    assert run([*words, "--out", str(stopped)]) == 130
    assert read_metrics(stopped)  # of the real steps, before the first checkpoint
    monkeypatch.undo()
    assert run(["train", "--resume", str(stopped)]) == 0
    assert parameters(alone) == parameters(stopped)
    assert [row["step"] for row in read_metrics(alone)] == [row["step"] for row in read_metrics(stopped)]


def test_a_cycle_spends_its_real_steps_and_no_more(tmp_path, capsys):
    folder = tmp_path / "cycle"
    words = ["--real-steps", "101", "--rounds", "2", "--collect-envs", "2", "--out", folder]
    assert command("dream", "--env", "CartPole-v1", "--agent", "ppo", *words, *CYCLE) == 0
    model = load_world_model(folder / "world_model")
    # 50 and 51 steps, in whole steps of two environments.
    assert model.episodes.num_steps == 100
    # The second round goes on with the episodes of the first: both of them were cut off there.
    begun = {episode.obs[0].tobytes() for episode in model.episodes.episodes}
    assert sum(episode.obs[-1].tobytes() in begun for episode in model.episodes.episodes) == 2
    assert sum(not episode.opens for episode in model.episodes.episodes) == 2
    # Named by the agent's steps: fits of later rounds may well be shorter.
    assert latest_checkpoint(folder / "world_model").name == "000000600"
    rows = read_metrics(folder)
    assert [row["real/steps"] for row in rows if "real/steps" in row] == [50, 100]
    assert "model/skill_1" in rows[0]
    capsys.readouterr()
    assert run(["evaluate", str(folder), "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps_trained"] == 600
    assert command("evaluate", folder / "world_model", "--json") == 0
    # It has ended already, whichever way it is taken up.
    assert run(["train", "--resume", str(folder)]) == 0
    with pytest.raises(UsageError, match=f"palaestra train --resume {folder}"):
        resume_run(folder)
    assert run(["train", "--resume", str(folder), "--steps", "200"]) == 2
    assert "as many real steps as it was started with" in capsys.readouterr().err


def test_a_cycle_killed_in_a_round_is_the_same_in_the_end(tmp_path, monkeypatch):
    from palaestra.training.imagination import rounds

    alone, killed = tmp_path / "alone", tmp_path / "killed"
    words = ["--env", "CartPole-v1", "--agent", "ppo", "--real-steps", "100", "--rounds", "3", *CYCLE]
    assert command("dream", *words, "--out", alone) == 0

    def dies(session, *rest):
        real(session, *rest)
        if session.clock.step == 400:
            raise KeyboardInterrupt

    real = rounds.learn
    monkeypatch.setattr(rounds, "learn", dies)
    assert command("dream", *words, "--out", killed) == 130
    monkeypatch.undo()
    assert resume_cycle(killed) == 0
    assert parameters(alone) == parameters(killed)
    assert parameters(alone / "world_model") == parameters(killed / "world_model")


def test_a_cycle_says_where_its_code_has_changed(tmp_path, capsys):
    file = tmp_path / "room.py"
    file.write_text("from palaestra.envs.tasks.corridor import Corridor\n\nclass Room(Corridor):\n    pass\n")
    folder = tmp_path / "cycle"
    words = [
        "--env",
        f"{file}:Room",
        "--agent",
        "ppo",
        "--real-steps",
        "100",
        "--rounds",
        "1",
        "--out",
        folder,
    ]
    words += ["--env-kwargs", "max_episode_steps=20"]
    with trusting(everything=True):
        assert command("dream", *words, *CYCLE) == 0
        assert "has changed" not in capsys.readouterr().err
        file.write_text(file.read_text() + "\n# another room\n")
        assert resume_cycle(folder) == 0
    assert "room.py has changed since the last session" in capsys.readouterr().err


def test_dyna_without_dreams_comes_to_its_end(tmp_path, capsys):
    words = ["train", "ppo", "--env", "CartPole-v1", "--world-model", "identity+ensemble", *CYCLE]
    words += ["--rounds", "2", "--dream-ratio", "3", "--min-skill", "1e9", "--out", str(tmp_path / "run")]
    words += ["--agent.learning-rate", "linear(1e-3, 0)", "--log-every", "100"]
    assert run(words) == 0
    assert "model-free" in capsys.readouterr().err
    # In the second half of the real steps the schedule is in its second half, too.
    rates = {row["step"]: row.get("policy/learning_rate") for row in read_metrics(tmp_path / "run")}
    late = [rate for step, rate in rates.items() if step > 350 and rate is not None]
    assert late and max(late) < 5e-4
    assert run(["runs", str(tmp_path), "--json"]) == 0
    found = [each for each in json.loads(capsys.readouterr().out)["runs"] if each["path"].endswith("run")]
    assert found[0]["finished"] and found[0]["step"] == 600


def test_progress_that_was_skipped_outlasts_a_checkpoint():
    counter, again = Counter(100), Counter(100)
    counter.add(10)
    counter.skip(40)
    again.load_state_dict(counter.state_dict())
    assert again.progress == counter.progress == 0.5 and again.count == 10
    again.load_state_dict({"count": 20})  # as earlier versions wrote it
    assert again.progress == 0.2


@pytest.mark.parametrize("backend", ["envpool", "async", "vector"])
def test_cycles_refuse_backends_that_they_would_not_use(backend, tmp_path, capsys):
    words = ["train", "ppo", "--env", "CartPole-v1", "--world-model", "identity+ensemble", *CYCLE]
    assert run([*words, "--backend", backend, "--out", str(tmp_path / "run")]) == 2
    assert f"--backend {backend}: " in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words", [["--env.clip-reward"], ["--env.wrappers", "gymnasium.wrappers:NormalizeReward"]]
)
def test_dreams_refuse_what_they_do_not_know(words, fitted, tmp_path, capsys):
    assert command("dream", fitted, "--agent", "ppo", *TRAIN, *words, "--out", tmp_path / "run") == 2
    assert f"{words[0]}: dreams are of the environment without it" in capsys.readouterr().err


def test_a_world_model_of_a_gpu_is_used_without_one(fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = tmp_path / "model"
    shutil.copytree(fitted, folder)
    path = folder / "world_model.yaml"
    path.write_text(re.sub("device: .*", "device: cuda", path.read_text()))
    assert load_world_model(folder).model.device.type == "cpu"
    assert "was made for device cuda, which is not here" in capsys.readouterr().err


def test_dyna_learns_from_real_steps_and_from_good_dreams_only(tmp_path, capsys):
    words = [
        "train",
        "ppo",
        "--env",
        "CartPole-v1",
        "--world-model",
        "auto+ensemble",
        "--rounds",
        "2",
        *CYCLE,
    ]
    words += ["--steps", "200", "--dream-ratio", "2"]
    free, dreams = tmp_path / "free", tmp_path / "dreams"
    assert run([*words, "--min-skill", "1.0", "--out", str(free)]) == 0
    said = capsys.readouterr().err
    assert "round 1/2: model-free, since skill" in said and "is not above 1" in said
    assert run([*words, "--min-skill", "-1e9", "--min-recall", "0", "--out", str(dreams)]) == 0
    assert "model-free" not in capsys.readouterr().err
    for folder, used, learned in ((free, 0.0, 200), (dreams, 1.0, 600)):
        assert [row["model/used"] for row in read_metrics(folder) if "model/used" in row] == [used] * 2
        assert load_world_model(folder / "world_model").episodes.num_steps == 200
        assert int(latest_checkpoint(folder).name) == learned
    assert run(["train", "--resume", str(dreams)]) == 0


def test_dreams_grow_longer_from_round_to_round(small_config):
    config = small_config(dream={"horizon": 45})
    cycle = CycleConfig(real_steps=100, rounds=5, first_horizon=5)
    assert [horizon(cycle, config, done) for done in range(5)] == [5, 15, 25, 35, 45]
    assert horizon(CycleConfig(real_steps=100), config, 0) == 45
    assert horizon(CycleConfig(real_steps=100, rounds=1, first_horizon=5), config, 0) == 45


def test_the_steps_of_all_rounds_add_up(small_config):
    config, cycle = (
        small_config(steps=1000, num_envs=7),
        CycleConfig(real_steps=101, rounds=3, collect_envs=2),
    )
    each = [dreamt_steps(cycle, config, index) for index in range(3)]
    assert sum(each) == 1001 and all(steps % 7 == 0 for steps in each)  # over by less than a step of all 7
    assert sum(real_steps(cycle, index) for index in range(3)) == 100  # never over
    dyna = CycleConfig(real_steps=100, rounds=3, collect_envs=7, learn_from_real=True)
    real = sum(real_steps(dyna, index) for index in range(3))
    assert real == 98
    assert 1000 <= real + sum(dreamt_steps(dyna, config, index) for index in range(3)) < 1007


def test_a_cycle_is_measured_at_the_clocks_of_every_run(tmp_path):
    folder = tmp_path / "cycle"
    words = ["--env", "CartPole-v1", "--agent", "ppo", "--real-steps", "100", "--rounds", "2", *CYCLE]
    assert command("dream", *words, "--log-every", "100", "--evaluate-every", "200", "--out", folder) == 0
    rows = read_metrics(folder)
    assert [row["step"] for row in rows if "time/total" in row] == [100, 200, 300, 400, 500, 600]
    assert [row["step"] for row in rows if "eval/return" in row] == [200, 400, 600]
    assert [row["step"] for row in json.loads((folder / "evaluations.json").read_text())] == [200, 400, 600]
    assert len(list((folder / "checkpoints").iterdir())) == 2  # one a round


def test_the_gate_says_why_it_is_closed():
    cycle = CycleConfig(real_steps=100, min_skill=0.1, min_recall=0.5)
    good = {"skill": {"1": 0.9, "10": 0.2, "20": -3.0, "50": None}, "terminal_recall": None}
    assert gate(cycle, good) == []
    bad = {"skill": {"1": 0.9, "10": 0.05, "20": 0.0}, "terminal_recall": 0.4}
    assert gate(cycle, bad) == [
        "skill 0.05 10 steps ahead is not above 0.1",
        "40% of the terminations are predicted, not 50%",
    ]
    assert gate(cycle, good | {"skill": {"1": float("nan")}}) != []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("fti", ["world-model fti", "'fit'"]),
        ("fit --out x", ["which environment?"]),
        ("fit --env CartPole-v1", ["where to?", "--out"]),
        ("fit --env CartPol-v1 --out x", ["CartPol-v1", "CartPole-v1"]),
        ("fit --env CartPole-v1 --encoder vea --out x", ["unknown observation model 'vea'", "'vae'"]),
        ("fit --env CartPole-v1 --dynamics mdn --out x", ["unknown dynamics 'mdn'", "mdn_rnn"]),
        ("fit --env CartPole-v1 --fit.updats 3 --out x", ["--fit.updats", "--fit.updates"]),
        ("fit --env CartPole-v1 --fit.updates 0 --out x", ["fit.updates", "must be > 0"]),
        ("fit --env CartPole-v1 --dynamics.members 2 --out x", ["elites: must be at most members (2)"]),
        ("fit --env FrozenLake-v1 --out x", ["world models take Box observations", "Discrete"]),
        ("fit --env CartPole-v1 --data nowhere --out x", ["nowhere is not a run"]),
        ("fit --resume nowhere", ["nowhere is not a world model"]),
        ("evaluate nowhere", ["nowhere is not a world model", "no such folder"]),
        ("dream nowhere", ["which agent?"]),
        ("dream nowhere --agent ppo", ["nowhere is not a world model"]),
        ("dream --agent ppo", ["which world model?"]),
        ("dream --agent ppo --real-steps 100", ["which environment?"]),
        (
            "dream --agent ppo --env CartPole-v1 --real-steps 3 --out x",
            ["--real-steps", "too few for 15 rounds"],
        ),
        ("dream --agent ppo --env CartPole-v1 --real-steps 0 --out x", ["--real-steps", "must be > 0"]),
        ("dream --agent ppo --env CartPole-v1 --real-steps 99 --world-model vae --out x", ["vae+ensemble"]),
        (
            "dream --agent ppo --env CartPole-v1 --real-steps 99 --learn-from-real --out x",
            ["--collect-envs 8; got 1"],
        ),
        ("dream --resume nowhere", ["nowhere is not a run"]),
        (
            "dream --agent ppo --env CartPole-v1 --real-steps 99 --world-model auto+mdn_rnn "
            "--dream.disagreement-limit 1 --out x",
            ["disagreement_limit", "ensemble"],
        ),
        (
            "dream --agent ppo --env CartPole-v1 --real-steps 99 --dream.model m --out x",
            ["--dream.model ", "fitted anew", "palaestra world-model dream ", "/m --agent ppo"],
        ),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(words, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(*words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    for part in parts:
        assert part in error
    assert not list(tmp_path.iterdir())


def test_models_and_agents_of_other_spaces_or_arguments_are_refused(fitted, tmp_path, capsys):
    """Nothing is left behind: the corrected command can have the same folder."""
    stacked, short = tmp_path / "stacked", tmp_path / "short"
    for folder, words in (
        (stacked, ["--frame-stack", "2"]),
        (short, ["--env-kwargs", "max_episode_steps=20"]),
    ):
        assert run(["train", "ppo", "--env", "CartPole-v1", *TRAIN, *words, "--out", str(folder)]) == 0
    capsys.readouterr()
    new = tmp_path / "new"
    refused = [
        (
            ["fit", "--env", "CartPole-v1", *FIT, "--data", stacked, "--out", new],
            "trained with observations Box(",
        ),
        (
            ["fit", "--env", "Pendulum-v1", *FIT, "--data", short, "--out", new],
            "trained with observations Box(",
        ),
        (["evaluate", fitted, "--policy", stacked], f"{fitted} was fitted to observations Box("),
        (["evaluate", fitted, "--policy", short], "--env-kwargs max_episode_steps=20"),
    ]
    for words, part in refused:
        assert command(*words) == 2
        error = capsys.readouterr().err
        assert part in error and error.count("\n") == 1
    assert not new.exists()


def test_world_models_are_named_by_absolute_paths(fitted, monkeypatch):
    """A run goes on from any folder."""
    monkeypatch.chdir(fitted.parent)
    name = fitted.name
    words = ["--env", "CartPole-v1", "--encoder", f"world-model:{name}", "--dream.model", f"./{name}"]
    config, _ = read_train_options("ppo", [*words, "--show-model-memory", name])
    assert config.encoder == f"world-model:{fitted}"
    assert config.dream.model == config.show_model_memory == str(fitted)
    assert world_model_config({"env": "CartPole-v1", "data": name}).data == str(fitted)
    assert world_model_config({"env": "CartPole-v1"}).data == "random"


def test_a_dream_lasts_as_long_as_the_environment_lets_episodes_last():
    assert dream_horizon("CartPole-v1", {}) == 500
    assert dream_horizon("CartPole-v1", {"max_episode_steps": 20}) == 20
    assert dream_horizon("CartPole-v1", {"max_episode_steps": -1}) == HORIZON


def test_a_dream_of_another_environment_is_refused(fitted, capsys, tmp_path):
    words = [
        "train",
        "ppo",
        "--env",
        "Acrobot-v1",
        "--dream.model",
        str(fitted),
        "--out",
        str(tmp_path / "x"),
    ]
    assert run(words) == 2
    assert "dreams of CartPole-v1 with observations Box(" in capsys.readouterr().err


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "autoencoder"
    small = ["--encoder", "autoencoder", "--encoder.latent-size", "3", "--encoder.hidden", "8"]
    assert command("fit", "--env", "CartPole-v1", *FIT, *SMALL, *small, "--out", folder) == 0
    return folder


@pytest.mark.parametrize("mode", ["frozen", "finetune", "joint"])
def test_an_agent_sees_with_a_world_models_encoder(mode, autoencoder, tmp_path, capsys):
    run_dir = tmp_path / "run"
    words = ["--env", "CartPole-v1", "--encoder", f"world-model:{autoencoder}", "--encoder.mode", mode]
    assert run(["train", "ppo", *words, *TRAIN, "--out", str(run_dir)]) == 0
    before = dict(load_world_model(autoencoder).model.observation_model.named_parameters())
    torso = load_run(run_dir).agent.torso
    after = dict(torso.encoder.observation_model.named_parameters())
    assert before.keys() == after.keys() and torso.size == 64
    # The decoder takes no part in acting; what encodes has changed only if it was allowed to.
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(same[name] == (mode != "joint") for name in same if name.startswith("decoder"))
    assert all(same[name] == (mode == "frozen") for name in same if name.startswith("encoder"))
    assert run(["evaluate", str(run_dir), "--episodes", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["steps_trained"] >= 600


def test_an_encoder_of_other_observations_is_refused(autoencoder, tmp_path, capsys):
    words = ["--env", "Acrobot-v1", "--encoder", f"world-model:{autoencoder}", "--out", str(tmp_path / "x")]
    assert run(["train", "ppo", *words]) == 2
    assert "encodes observations" in capsys.readouterr().err
    assert run(["train", "ppo", "--env", "CartPole-v1", "--encoder", "world-model:nowhere"]) == 2
    assert "nowhere is not a world model" in capsys.readouterr().err


def test_help_shows_options_of_encoder_and_dynamics(capsys):
    with pytest.raises(SystemExit) as stop:
        command("fit", "--help", "--encoder", "vae", "--dynamics", "mdn_rnn")
    assert not stop.value.code
    text = capsys.readouterr().out
    for option in (
        "--encoder.beta",
        "--dynamics.components",
        "--fit.patience",
        "--heads.terminal-share",
        "--data",
    ):
        assert option in text


def test_help_shows_options_of_a_cycle(capsys):
    with pytest.raises(SystemExit) as stop:
        command("dream", "--env", "CartPole-v1", "--help")
    assert not stop.value.code
    text = capsys.readouterr().out
    assert all(option in text for option in ("--real-steps", "--rounds", "--world-model", "--fit.patience"))
    assert command("--help") == 0 and command() == 2
    assert "dream --resume" in capsys.readouterr().out


def test_auto_follows_the_observations():
    picture, vector = spaces.Box(0, 255, (32, 32), np.uint8), spaces.Box(-1, 1, (3,), np.float32)

    auto = {"observation_model": "auto", "dynamics": "auto"}
    assert resolve_names(auto, picture) == {"observation_model": "vae", "dynamics": "mdn_rnn"}
    assert resolve_names(auto, vector) == {"observation_model": "identity", "dynamics": "ensemble"}
    config = world_model_config({"env": "Pendulum-v1", "dynamics": {"name": "transformer", "context": 4}})
    assert (config.observation_model, config.dynamics, config.dynamics_config.context) == (
        "identity",
        "transformer",
        4,
    )


def test_random_steps_are_counted_and_the_same_every_time():
    spec = EnvSpec("Pendulum-v1", 3, seed=1, backend="sync")
    episodes, returns = collect_episodes(spec, 1000)
    again, _ = collect_episodes(spec, 1000)
    assert episodes.num_steps == 999 and len(returns) == 3
    # 333 steps each: one whole episode of 200, cut off by its time limit, and a part of the next.
    assert sorted(e.length for e in episodes.episodes) == [133] * 3 + [200] * 3
    assert episodes.num_terminated == 0
    np.testing.assert_array_equal(episodes.episodes[0].obs, again.episodes[0].obs)
    actor = RandomActor(spaces.Discrete(2), 5, 0)
    assert set(np.concatenate([actor.act(None, None, None)[0] for _ in range(20)])) == {0, 1}
