"""What the pages for users name exists: files, anchors, modules, commands, options; and their lines are short."""

import ast
import contextlib
import functools
import importlib
import io
import re
import runpy
import shlex
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml

from palaestra.training.cli.main import run

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
]
WRITTEN_BY_COMMANDS = {"api.md", "survey.md", "survey-installed.md", "matrix.md"}
LONGEST_LINE = 100
# Files of the reader's own.
EXAMPLES = {"networks/encoders/means.py"}
FOLDERS = r"(?:\.ci|agents|configs|docs|envs|networks|tests|training|world_models)"
# `train --world-model` takes it, and `train --help` does not list it.
UNLISTED = {"--dream-ratio"}
# Of `world-model dream`: its help lists those of the cycle.
OF_DREAM = {"--agent", "--resume"}
COMMANDS_OF_TWO_WORDS = {"envs", "world-model"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_blocks(text: str, language: str | None = None) -> list[str]:
    """Contents of fenced blocks; of one language, or of all."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [body for name, body in found if language is None or name == language]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> list[str]:
    """Contents of backticks, joined where they run over a line."""
    return [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(text))]


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text: str) -> list[list[str]]:
    """Words of every `palaestra ...` in blocks and in the text."""
    lines = []
    for block in code_blocks(text):
        lines += block.replace("\\\n", " ").splitlines()
    found = []
    for line in lines + inline_code(text):
        for part in re.split(r"&&|;|\bdo\b", re.sub(r"\s#.*", "", line)):
            if re.match(r"\s*palaestra ", part):
                found.append(shlex.split(part)[1:])
    return found


def printed(*words: str) -> str:
    """What a command prints that asks for help."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        assert run([*words]) == 0, words
    return out.getvalue()


@functools.cache
def options_of(*words: str) -> frozenset[str]:
    """Option names that `palaestra WORDS --help` lists."""
    lines = re.findall(r"^\W*?(--[a-z].*)$", printed(*words, "--help"), flags=re.MULTILINE)
    return frozenset(name for line in lines for name in re.findall(r"--[a-z][\w.-]*", line))


def following(words: list[str], option: str) -> list[str]:
    """The option and its value where they are given, to be asked for help with; values of the reader's own are not.

    Environments of other packages are left out: their options are those of CartPole, and not all are installed.
    """
    if option not in words or words.index(option) + 1 == len(words):
        return []
    value = words[words.index(option) + 1]
    foreign = option == "--env" and not value.startswith("palaestra/")
    own = (
        value.isupper() or value.endswith(".yaml") or (":" in value and not value.startswith("world-model:"))
    )
    return [] if foreign or own else [option, value]


def train_options(words: list[str]) -> frozenset[str]:
    """Options of `palaestra train AGENT ...`, for the environment and the parts that are named."""
    # The environment decides which encoder and memory there are where none is named; asking for it takes time.
    named = ("--encoder", "--memory", "--auxiliary", "--bonus", "--reward", "--config")
    whose = ("--env",) if any(word.startswith(("--encoder.", "--memory.")) for word in words) else ()
    asked = [part for name in (*whose, *named) for part in following(words, name)]
    if "--resume" in words:
        return frozenset({"--resume", "--steps", "--schedule-steps", "--device", "--threads"})
    agent = "ppo" if words[1].isupper() or ":" in words[1] else words[1]
    extra = options_of("world-model", "dream") | UNLISTED if "--world-model" in words else frozenset()
    return options_of("train", agent, *asked) | extra


def known_options(words: list[str]) -> frozenset[str]:
    """Options that a command line may have."""
    if words[0] == "train":
        return train_options(words)
    if words[:2] == ["world-model", "dream"]:
        agent = (following(words, "--agent") or ["", "ppo"])[1]
        cycle = options_of("world-model", "dream") if "--env" in words else frozenset()
        rest = words[words.index("dream") + 1 :]
        return cycle | train_options(["train", agent, *rest]) | OF_DREAM
    if words[:2] == ["world-model", "fit"]:
        parts = following(words, "--encoder") + following(words, "--dynamics")
        return options_of("world-model", "fit", *parts) | {"--resume"}
    if words[0] == "bench" and words[1:2] not in (["envs"], ["dream"]):
        return options_of("bench")
    return options_of(*words[: 2 if words[0] in COMMANDS_OF_TWO_WORDS or words[0] == "bench" else 1])


def all_options() -> set[str]:
    """Every option of any command, whatever parts are named."""
    asked = [("train", agent) for agent in ("ppo", "dqn", "pqn", "reinforce", "ddpg", "bc", "sb3/ppo")]
    asked += [
        ("train", "ppo", "--env", "palaestra/Catch-v0", "--encoder", name)
        for name in ("cnn", "impala", "capsule")
    ]
    asked += [("train", "ppo", "--memory", name) for name in ("lstm", "gru", "transformer")]
    asked += [("train", "ppo", "--auxiliary", name) for name in ("curl", "predict", "reconstruct")]
    asked += [("train", "ppo", "--bonus", name) for name in ("count", "rnd", "reachability")]
    asked += [("train", "ppo", "--reward", name) for name in ("gail", "labels")]
    asked += [("train", "ppo", "--encoder", "world-model:DIR"), ("world-model", "dream")]
    asked += [("world-model", "fit", "--encoder", name) for name in ("vae", "autoencoder", "semi_supervised")]
    asked += [
        ("world-model", "fit", "--dynamics", name)
        for name in ("adversarial", "ensemble", "mdn_rnn", "rssm", "transformer")
    ]
    asked += [("world-model", "evaluate"), ("bench", "envs"), ("bench", "dream"), ("envs", "list")]
    asked += [("envs", "check"), ("envs", "survey")]
    others = "evaluate export record watch share runs matrix sweep compare wandb bench doctor"
    asked += [(name,) for name in others.split()]
    return {"--help", "--version", *OF_DREAM, *UNLISTED}.union(*(options_of(*words) for words in asked))


@pages
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{link}: no such heading"


@pages
def test_files_that_are_named_exist(page):
    text = page.read_text()
    names = " ".join(inline_code(text) + code_blocks(text, ""))
    for name in re.findall(rf"(?<![\w./-]){FOLDERS}/[\w./-]*", names):
        assert name in EXAMPLES or (ROOT / name).exists(), f"{name}: no such file"


@pages
def test_modules_that_are_named_exist(page):
    text = page.read_text()
    for name in re.findall(
        r"(?<![\w./-])palaestra\.[a-z][\w.]*\w(?::\w+)?", " ".join(inline_code(text)) + text
    ):
        module, _, attribute = name.partition(":")
        parts = module.split(".")
        for length in range(len(parts), 0, -1):
            with contextlib.suppress(ModuleNotFoundError):
                found = importlib.import_module(".".join(parts[:length]))
                break
        for part in [*parts[length:], *([attribute] if attribute else [])]:
            assert hasattr(found, part), f"{name}: {found.__name__} has no {part}"
            found = getattr(found, part)


@pages
def test_python_blocks_compile_and_their_imports_work(page):
    for block in code_blocks(page.read_text(), "python"):
        for node in ast.parse(block).body:
            ours = isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "palaestra"
            if ours:
                exec(compile(ast.Module([node], []), page.name, "exec"), {})
        compile(block, page.name, "exec")


@pages
def test_command_lines_name_commands_and_options_that_exist(page):
    for words in command_lines(page.read_text()):
        # Placeholders and the ends of sentences: `palaestra compare ... --wandb`.
        words = [word for word in words if word != "..."]
        if words in ([], ["COMMAND"]) or words[0].startswith("-"):
            continue
        assert re.search(rf"^  {words[0]}\b", printed("--help"), flags=re.MULTILINE), f"no command {words[0]}"
        if words[0] in COMMANDS_OF_TWO_WORDS and len(words) > 1:
            options_of(*words[:2])
        given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)} - {"--help"}
        if len(words) > 1 and given:
            unknown = given - known_options(words)
            assert not unknown, f"palaestra {shlex.join(words)}: no option {', '.join(sorted(unknown))}"


def test_options_that_are_named_exist():
    known = all_options()
    for page in PAGES:
        for code in inline_code(page.read_text()):
            name = re.match(r"--[a-z][\w.-]*(?=[ =]|$)", code)
            if name and not name[0].endswith("."):
                assert name[0] in known, f"{page.name}: no option {name[0]}"


def test_contributing_has_the_rooms_as_they_are_tested():
    """Its table says the same as ALLOWED in test_layers.py, read from below."""
    layers = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))
    allowed = {room.removeprefix("training/"): rooms for room, rooms in layers["ALLOWED"].items()}
    in_training = {
        room.removeprefix("training/") for room in layers["ALLOWED"] if room.startswith("training/")
    }
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| room |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[2:]]
    found = {}
    for rooms, importers in rows:
        names = set(re.findall(r"`(\w+)`", importers))
        names = names - {"training"} | in_training if "training" in names else names
        found |= dict.fromkeys(re.findall(r"`(\w+)`", rooms), names)
    expected = {room: set() for room in allowed}
    for room, below in allowed.items():
        for name in below:
            expected[name.removeprefix("training/")].add(room)
    assert found == expected


def test_the_page_of_the_api_is_current():
    """`python docs/api_page.py` writes it."""
    written = runpy.run_path(str(ROOT / "docs" / "api_page.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text() == written


def test_the_simulated_tables_are_current():
    """`python docs/scale_table.py` prints them."""
    script = runpy.run_path(str(ROOT / "docs" / "scale_table.py"))
    page = (ROOT / "docs" / "scale.md").read_text()
    assert all(line in page for line in script["tables"](script["Inputs"]()))


SHORTENED = {
    "steps=20_000": "steps=2_000",
    "steps=4_000, seed=1": "steps=2_000, seed=1",
    # Each evaluation starts processes.
    'steps=2_000, backend="async"': 'steps=2_000, evaluate_every=2_000, backend="async"',
}


@pytest.mark.filterwarnings("ignore")  # Stable-Baselines3's and Matplotlib's own
@pytest.mark.slow  # `.ci/run` has the short one
@pytest.mark.parametrize("whole", [False, True], ids=["short", "whole"])
def test_the_examples_of_python_md_run(whole, tmp_path, monkeypatch):
    """From top to bottom, as a reader would; or with shorter runs."""
    monkeypatch.chdir(tmp_path)
    program = "\n".join(code_blocks((ROOT / "docs" / "python.md").read_text(), "python"))
    if not whole:
        assert all(part in program for part in SHORTENED)
        for part, shorter in SHORTENED.items():
            program = program.replace(part, shorter)
    names = {"__name__": "__main__"}
    exec(compile(program, "python.md", "exec"), names)
    assert names["run"].steps >= 5_000 and names["found"].report.is_file()


@pages
def test_lines_are_short(page):
    if page.name in WRITTEN_BY_COMMANDS:
        return
    for line in prose(page.read_text()).splitlines():
        free = line.startswith("|") or " " not in line.strip()
        assert free or len(line) <= LONGEST_LINE, f"{page.name}: {len(line)} characters: {line}"


def test_the_checks_find_what_is_wrong(tmp_path):
    """A test that reads nothing would always pass."""
    text = "# A b: `c`!\n`palaestra train\nppo --steps 1`\n```\npalaestra runs # all\n```\n"
    assert anchors(text) == {"a-b-c"}
    assert command_lines(text) == [["runs"], ["train", "ppo", "--steps", "1"]]
    assert {"--agent.gamma", "--env.on-error", "--memory.layers"} <= known_options(
        ["train", "ppo", "--memory", "transformer"]
    )
    assert "--agent.target-every" not in known_options(["train", "ppo"])


def test_an_observation_passes_nine_files_at_most_and_none_twice():
    text = (ROOT / "docs" / "architecture.md").read_text()
    files = re.findall(r"^\| \d \| `([\w/.]+)`", text, re.MULTILINE)
    assert 1 < len(files) <= 9 and len(set(files)) == len(files)
    assert all((ROOT / file).is_file() for file in files)


def test_the_picture_of_latents_shows_the_two_directions_that_vary_most(tmp_path, monkeypatch):
    """`python docs/representation_latents.py RUN ... --out PNG` draws it."""
    script = runpy.run_path(str(ROOT / "docs" / "representation_latents.py"))
    # Three directions at right angles, of lengths 2, 1 and 0.1 in a turned frame.
    frame, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    corners = np.array([[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0.1], [0, 0, -0.1]])
    points, share = script["principal_components"](torch.as_tensor(5 + corners @ frame))
    np.testing.assert_allclose(np.abs(points), np.abs(corners[:, :2]), atol=1e-6)
    assert share == pytest.approx(5 / 5.01)
    flipped, _ = script["principal_components"](torch.as_tensor((corners @ frame)[::-1].copy()))
    np.testing.assert_allclose(flipped[::-1], points, atol=1e-6)
    # Of a run's folder.
    small = "--env palaestra/Catch-v0 --env-kwargs height=4 --steps 64 --num-envs 4 --agent.rollout-length 8"
    small += " --agent.batch-size 32 --evaluate-episodes 1 --auxiliary reconstruct --auxiliary.batch-size 8"
    folder, out = tmp_path / "run", tmp_path / "latents.png"
    assert run(["train", "ppo", *small.split(), "--track", "none", "--out", str(folder)]) == 0
    words = [str(folder), str(folder), "--states", "0", "1", "--names", "column", "row", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["representation_latents.py", *words])
    script["main"]()
    assert out.read_bytes().startswith(b"\x89PNG")
    real, decoded = script["reconstructions"](folder)
    assert real.shape == decoded.shape == (8, 4, 5) and set(np.unique(real)) == {0.0, 1.0}
    argv = ["representation_latents.py", str(folder), "--reconstructions", "--out", str(tmp_path / "r.png")]
    monkeypatch.setattr(sys, "argv", argv)
    script["main"]()
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_no_report_of_fresh_seeds_has_one_that_a_preset_was_chosen_by():
    """`python docs/seeds.py` prints them."""
    script = runpy.run_path(str(ROOT / "docs" / "seeds.py"))
    seeds = {0, 1, 2, 5, 30, 31}
    assert script["spans"](seeds) == "0-2 5 30-31" and script["parsed"]("0-2 5 30-31") == seeds
    kinds = {"looked at": {0, 99}, "fresh": {100, 109}, "mixed": {99, 100}}
    assert {script["kind_of"](each, set()): each for each in kinds.values()} == kinds
    # One that was looked at is not fresh, however large it is.
    assert script["kind_of"]({100, 109}, {109}) == "mixed"
    assert script["seeds_of_reports"]()["classic"]["CartPole-v1", "ppo"] == set(range(100, 110))
    suite = yaml.safe_load((ROOT / "configs" / "suites" / "readme.yaml").read_text())
    assert script["kind_of"](set(suite["seeds"]), set()) == "fresh"
    reports = script["seeds_of_reports"]()
    cells = {cell for report in reports.values() for cell in report}
    chosen = script["looked_at"]()
    assert chosen["Hopper-v5", "ppo"] == {10, 11, 12}
    for report, seeds_of in reports.items():
        for cell, seeds in seeds_of.items():
            assert script["kind_of"](seeds, chosen.get(cell, set())) == "fresh", (report, cell)
    # Agents are called as in the reports: others would be found in none.
    assert {agent for _, agent in chosen} <= {agent for _, agent in cells}


def test_what_decides_an_episode_of_memory_s7_is_an_exclusive_or():
    """`python docs/memory_plateau.py` counts the updates until an LSTM sees it."""
    script = runpy.run_path(str(ROOT / "docs" / "memory_plateau.py"))
    env = script["onehot"](gymnasium.make("MiniGrid-MemoryS7-v0", agent_view_size=3))
    episodes = [script["play"](env, seed) for seed in range(120)]
    in_room = [each for each in episodes if each.start == script["ROOM"]]
    paid: dict[tuple[bytes, bytes], set[bool]] = {}
    for each in in_room:
        paid.setdefault((each.obs[0].tobytes(), each.obs[-1].tobytes()), set()).add(each.reward > 0)
    # Two objects at each end: each of the four pairs pays always or never, and each object pays in one of its pairs.
    assert sorted(map(list, paid.values())) == [[False], [False], [True], [True]]
    for end in (0, 1):
        by_object: dict[bytes, set[bool]] = {}
        for pair, outcomes in paid.items():
            by_object.setdefault(pair[end], set()).update(outcomes)
        assert list(by_object.values()) == [{False, True}, {False, True}]
    data = script["chunk"](in_room[:3])
    assert (
        data.obs.shape == (6, 3, 180)
        and data.last.tolist() == [5, 5, 5]
        and data.first[:2, 0].tolist() == [True, False]
    )


def test_time_and_energy_are_those_of_the_committed_comparisons():
    """`python docs/energy.py` prints them."""
    script = runpy.run_path(str(ROOT / "docs" / "energy.py"))
    page = (ROOT / "docs" / "energy.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in script["lines"]() if line not in page] == []


def test_a_meeting_has_its_core_seconds_and_how_many_times_less_they_are():
    script = runpy.run_path(str(ROOT / "docs" / "energy.py"))
    both = [("CartPole-v1", "ppo", 4.0), ("CartPole-v1", "sb3/ppo", 10.0)]
    rows = [{"environment": env, "contestant": agent, "median": median} for env, agent, median in both]
    findings = {
        "pairs": [{"first": "ppo", "second": "sb3/ppo", "environments": [{"environment": "CartPole-v1"}]}],
        "references": {"CartPole-v1": [22, 500]},
        "timing": {"efficiency": rows},
    }
    # By hand: 22 + 0.9 * 478 = 452.2, and 10 / 4 = 2.5.
    old = "| quick | CartPole-v1 | ppo, sb3/ppo | 452 | 4.0, 10.0 | - | 2.5 |"
    assert script["meetings"]("quick", findings) == [old]
    findings["timing"]["cpu_efficiency"] = [rows[0] | {"median": 2.0}, rows[1] | {"median": None}]
    assert script["meetings"]("quick", findings) == [
        "| quick | CartPole-v1 | ppo, sb3/ppo | 452 | 4.0, 10.0 | 2.0, - | - |"
    ]
    # Core-seconds of one side only are not compared with seconds of the other.
    findings["timing"]["cpu_efficiency"] = [rows[1] | {"median": 9.0}]
    assert script["meetings"]("quick", findings) == [
        "| quick | CartPole-v1 | ppo, sb3/ppo | 452 | 4.0, 10.0 | -, 9.0 | - |"
    ]
