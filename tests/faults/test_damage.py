"""Damaged run folders: every command ends with a line and exit code 0, 1 or 2, never with a traceback."""

import json
import random
import shutil

import pytest

from palaestra.training.cli.main import run

COMMANDS = {
    "runs": ["runs", "FOLDER"],
    "runs --json": ["runs", "FOLDER", "--json"],
    "matrix": ["matrix", "FOLDER"],
    "evaluate": ["evaluate", "FOLDER/run", "--episodes", "1", "--json"],
    "resume": ["train", "--resume", "FOLDER/run"],
    "resume for longer": ["train", "--resume", "FOLDER/run", "--steps", "1200"],
}
DAMAGES = ("emptied", "cut", "flipped", "deleted", "a folder", "noise", "other JSON")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """A folder with two finished runs."""
    folder = tmp_path_factory.mktemp("healthy")
    words = "train ppo --env CartPole-v1 --steps 800 --num-envs 2 --agent.rollout-length 32 --track none"
    words += " --evaluate-episodes 1 --checkpoint-every 300"
    for name in ("run", "sound"):
        assert run([*words.split(), "--out", str(folder / name)]) == 0
    return folder


def damage(path, how, draw):
    """Damage one file."""
    data = path.read_bytes()
    match how:
        case "emptied":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: draw.randrange(max(1, len(data)))])
        case "flipped":
            changed = bytearray(data)
            if changed:
                changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
            path.write_bytes(bytes(changed))
        case "deleted":
            path.unlink()
        case "a folder":
            path.unlink()
            path.mkdir()
        case "noise":
            path.write_bytes(draw.randbytes(200))
        case "other JSON":
            path.write_text(draw.choice(["[]", "{}", "3", "null", '{"step": "x"}', '[{"step": null}]']))


def files_of(folder):
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_named_and_nothing_else_suffers(how, healthy, tried, tmp_path, capsys):
    draw, faults = random.Random(how), []
    for name in files_of(healthy / "run"):
        for title, command in COMMANDS.items():
            folder = tmp_path / "folder"
            shutil.copytree(healthy, folder)
            damage(folder / "run" / name, how, draw)
            tried("damaged folders")
            try:
                code = run([word.replace("FOLDER", str(folder)) for word in command])
            except Exception as error:
                code = repr(error)
            output = capsys.readouterr()
            if code not in (0, 1, 2) or "Traceback" in output.err + output.out:
                faults.append((name, title, code))
            elif title == "runs --json":
                found = {entry["path"] for entry in json.loads(output.out)["runs"]}
                if str(folder / "sound") not in found:
                    faults.append((name, title, "the sound run is missing"))
            shutil.rmtree(folder)
    assert faults == []
