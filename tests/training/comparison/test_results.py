"""Comparisons of several machines, put together."""

import json
from dataclasses import replace

import pytest

from palaestra.agents.ppo import PPOConfig
from palaestra.training.cli import main as cli
from palaestra.training.comparison.analysis import analyze
from palaestra.training.comparison.report import report
from palaestra.training.comparison.report.tables import tables
from palaestra.training.comparison.results import (
    FinishedRun,
    Results,
    merge_results,
    read_results,
    spent_until,
)
from palaestra.training.settings.usage import UsageError

ENVS = ("CartPole-v1", "Acrobot-v1")


def run(contestant, env, seed, score):
    return FinishedRun(
        contestant=contestant,
        agent=contestant,
        env=env,
        steps=1000,
        seed=seed,
        score=score,
        episodes=100,
        curve=[(500, score - 1.0), (1000, score)],
        curve_seconds=[1.0, 2.5],
        seconds=3.0,
        commands=[f"palaestra train {contestant} --env {env}"],
        made_with=[
            {
                "versions": {"python": "3.11"},
                "commit": None,
                "machine": {"processor": "any", "cores": 2, "system": "any"},
            }
        ],
        curve_cpu=[0.5, 2.0],
        cpu_seconds=2.25,
    )


def results(seeds, name="whole", envs=ENVS):
    runs = [
        run(agent, env, seed, float(score + seed))
        for env in envs
        for seed in seeds
        for agent, score in (("ppo", 400), ("sb3/ppo", 300))
    ]
    return Results(name, runs, [("ppo", "sb3/ppo")], {"Acrobot-v1": (-500.0, 500.0)})


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a comparison as `palaestra compare` would, without its charts; returns the path."""
    monkeypatch.setattr(report, "draw_charts", lambda findings, out: [])

    def write(name, found):
        (tmp_path / name).mkdir()
        (tmp_path / name / "comparison.json").write_text(json.dumps(analyze(found)))
        return tmp_path / name / "comparison.json"

    return write


def test_a_comparison_that_is_read_back_says_the_same(write):
    found = replace(results(range(4)), missing=["runs/x (it fell over)"])
    assert analyze(read_results(write("one", found))) == analyze(found)


def test_a_comparison_of_a_version_that_counted_no_core_seconds_can_be_read(write):
    path = write("old", results(range(4)))
    findings = json.loads(path.read_text())
    for name in ("cpu_seconds", "curve_cpu", "cpu_efficiency"):
        del findings["timing"][name]
    path.write_text(json.dumps(findings))
    found = analyze(read_results(path))
    assert found["timing"]["cpu_efficiency"] == []
    assert "Core-seconds until it is learned" not in tables(found)
    assert found["timing"]["efficiency"] == analyze(results(range(4)))["timing"]["efficiency"]


def test_core_seconds_until_it_is_learned(write):
    """By hand: ppo's seeds end at 400 to 403 on CartPole, where 0.9 of 22 to 500 is 452.2: never learned."""
    fast = [replace(each, curve=[(500, 460.0), (1000, 500.0)]) for each in results(range(3)).runs[:6]]
    table = tables(analyze(replace(results(range(3)), runs=fast)))["Core-seconds until it is learned"]
    header, rows = table
    assert header[-2:] == ["core-seconds (median)", "core-seconds of a whole run (median)"]
    assert rows[0] == ["CartPole-v1", "ppo", "3 of 3", "0.5", "2.2"]


def test_small_returns_and_environments_without_reference_scores_are_reported(tmp_path):
    """Two meetings in an environment that nothing is known of, with returns between 0 and 1; with charts."""
    scores = {"ppo": 0.96, "sb3/ppo": 0.0, "sb3/ppo tuned": 0.94}
    runs = [run(agent, "MyMaze-v0", seed, score) for agent, score in scores.items() for seed in range(3)]
    pairs = [("ppo", "sb3/ppo"), ("ppo", "sb3/ppo tuned")]
    report.write_report(analyze(Results("mazes", runs, pairs, {})), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| MyMaze-v0 | 1k | 3 | 0.96 [0.96, 0.96] | 0.94 [0.94, 0.94] |" in text
    assert "<strong>0.96</strong>" in (tmp_path / "report.html").read_text()


def of(found, agent):
    """What a machine finds that has the runs of one agent."""
    return replace(found, runs=[each for each in found.runs if each.contestant == agent])


def test_a_comparison_of_before_names_only_pairs_that_met(write):
    path = write("old", results(range(4)))
    findings = json.loads(path.read_text())
    del findings["pairings"]
    path.write_text(json.dumps(findings))
    assert analyze(read_results(path)) == analyze(results(range(4)))


@pytest.mark.parametrize(
    "halves",
    [
        (results((0, 1), "a"), results((2, 3), "b")),
        (results(range(4), "a", ENVS[:1]), results(range(4), "b", ENVS[1:])),
        (of(results(range(4), "a"), "ppo"), of(results(range(4), "b"), "sb3/ppo")),
    ],
    ids=["seeds", "environments", "agents"],
)
def test_halves_come_to_what_the_whole_does(halves, write, tmp_path):
    paths = [str(write(half.name, half)) for half in halves]
    assert cli.run(["compare", *paths, "--out", str(tmp_path / "out")]) == 0
    merged, whole = (
        json.loads((tmp_path / "out" / "comparison.json").read_text()),
        analyze(results(range(4))),
    )
    assert merged["name"] == "a and b"
    for key in ("overall", "pairs", "table", "normalized", "references", "efficiency", "notes", "made_with"):
        assert merged[key] == json.loads(json.dumps(whole[key])), key


def test_what_does_not_fit_together_is_one_line(write, tmp_path, capsys):
    first = str(write("first", results((0, 1))))

    def error(name, other):
        assert cli.run(["compare", first, str(write(name, other)), "--out", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    assert "ppo on CartPole-v1 with seed 1 is in both" in error("twin", results((1, 2)))
    fewer = [replace(each, episodes=20) for each in results((2, 3)).runs]
    assert "scored over different numbers of episodes" in error("fewer", replace(results(()), runs=fewer))
    longer = [replace(each, steps=2000) for each in results((2, 3)).runs]
    assert "ppo on CartPole-v1 is ppo for 1,000 steps in" in error(
        "longer", replace(results(()), runs=longer)
    )
    # Runs of the first have no options, as before these were kept; those of each other must be the same.
    values = {"num_envs": 8, "agent": {"name": "ppo", "gamma": 0.99}, "dream": {"model": "here"}}
    write("known", with_options(results((2, 3)), values))
    moved = {**values, "dream": {"model": "there"}, "agent": {"name": "ppo", "gamma": 0.9}}
    parts = [
        str(tmp_path / "known" / "comparison.json"),
        str(write("other", with_options(results((4, 5)), moved))),
    ]
    assert cli.run(["compare", *parts, "--out", str(tmp_path / "out")]) == 2
    assert "ppo on CartPole-v1 has another agent.gamma in" in capsys.readouterr().err
    # A part that was made before there was an option had what is its default now.
    later = {
        "agent": {"name": "ppo", "gamma": 0.99, "epochs": PPOConfig().epochs},
        "env_options": {"timeout": 60.0},
    }
    merged = {
        "known": with_options(results((2, 3)), values),
        "later": with_options(results((4, 5)), values | later),
    }
    assert len(merge_results(merged).runs) == 2 * len(merged["known"].runs)
    for name, changed in (
        ("agent.epochs", {"agent": {**later["agent"], "epochs": 99}}),
        ("num_envs", {"num_envs": 4}),
    ):
        merged["later"] = with_options(results((4, 5)), values | later | changed)
        with pytest.raises(UsageError, match=f"has another {name} in"):
            merge_results(merged)
    other_scale = replace(results((2, 3)), references={"Acrobot-v1": (-500.0, 0.0)})
    assert "Acrobot-v1 is scored from (-500.0, 500.0) in" in error("scale", other_scale)
    missing, wrong = tmp_path / "nothing.json", tmp_path / "wrong.json"
    wrong.write_text("{}")
    assert cli.run(["compare", first, str(missing)]) == 2
    assert "nothing.json: No such file" in capsys.readouterr().err
    assert cli.run(["compare", first, str(wrong)]) == 2
    assert "wrong.json is not a comparison.json that this version has written" in capsys.readouterr().err
    findings = json.loads((tmp_path / "first" / "comparison.json").read_text())
    findings["table"][0]["runs"][0] = float("nan")
    wrong.write_text(json.dumps(findings))
    assert cli.run(["compare", first, str(wrong)]) == 2
    assert "ppo on CartPole-v1 has a score that is no number" in capsys.readouterr().err
    empty = {name: [] for name in ("table", "curves", "pairs")} | {
        "timing": {"curve_seconds": [], "seconds": []}
    }
    wrong.write_text(json.dumps(findings | empty))
    assert cli.run(["compare", first, str(wrong)]) == 2
    assert "it has no runs" in capsys.readouterr().err
    assert cli.run(["compare", first, "quick"]) == 2
    assert "give one suite, folders only, or comparison.json files only" in capsys.readouterr().err


def with_options(found, values):
    return replace(found, runs=[replace(each, options=values) for each in found.runs])


def test_parts_with_the_same_options_are_put_together_wherever_their_files_lie(write, tmp_path):
    parts = [
        write(place, with_options(results(seeds), {"agent": {"name": "ppo"}, "data": [place]}))
        for place, seeds in (("here", (0, 1)), ("there", (2, 3)))
    ]
    merged = merge_results({str(path): read_results(path) for path in parts})
    assert {each.options["data"][0] for each in merged.runs} == {"here", "there"}
    with_old = merge_results({"a": read_results(parts[0]), "b": results((4, 5))})
    assert len(with_old.runs) == 16


def test_who_had_another_task_or_cut_episodes_is_noted():
    found = results(range(4), envs=("CartPole-v1",))
    tasks = {"ppo": {"env_kwargs": {"length": 9}, "gamma": 1.0}, "sb3/ppo": {"env_kwargs": {}, "gamma": 0.9}}
    runs = [replace(each, options=tasks[each.contestant], cut=each.seed) for each in found.runs]
    notes = analyze(replace(found, runs=runs))["notes"]
    assert (
        "ppo and sb3/ppo did not have the same task in CartPole-v1, but another env_kwargs.length." in notes
    )
    # Seeds 0 to 3 have as many.
    assert "6 of 400 final episodes of ppo in CartPole-v1 were cut off by evaluate_max_steps." in notes
    assert not any(word in note for note in analyze(found)["notes"] for word in ("task", "cut off"))


def test_seconds_until_an_evaluation_follow_from_the_whole_where_rows_are_rare(tmp_path):
    rows = tmp_path / "metrics.jsonl"
    rows.write_text("")
    assert spent_until(tmp_path, [250, 1000], "time/total", (1000, 8.0)) == [2.0, 8.0]
    rows.write_text(json.dumps({"step": 500, "time/total": 6.0}) + "\n")
    assert spent_until(tmp_path, [250, 500, 750], "time/total", (1000, 8.0)) == [3.0, 6.0, 7.0]


def test_agents_alone_meet_where_no_suite_says_whom_they_meet(write, tmp_path):
    sides = [
        replace(of(results(range(4), name), agent), pairs=[])
        for name, agent in (("a", "ppo"), ("b", "sb3/ppo"))
    ]
    paths = [str(write(side.name, side)) for side in sides]
    assert cli.run(["compare", *paths, "--out", str(tmp_path / "out")]) == 0
    (pair,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["pairs"]
    assert (pair["first"], pair["second"], pair["verdict"]) == ("ppo", "sb3/ppo", "better")


def test_what_has_failed_in_one_part_is_not_missing_where_another_has_it():
    failed = "out/runs/CartPole-v1/ppo-1000/seed1 (it fell over)"
    parts = {"a": replace(results((0,)), missing=[failed]), "b": results((1,))}
    assert merge_results(parts).missing == []
    assert merge_results(parts | {"b": results((2,))}).missing == [failed]


def test_merging_keeps_what_is_missing():
    parts = {"a": replace(results((0,)), missing=["x"]), "b": replace(results((1,)), missing=["y"])}
    assert merge_results(parts).missing == ["x", "y"]
