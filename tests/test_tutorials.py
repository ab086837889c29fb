"""Every command of the tutorials, one after another as a reader types them, with few steps."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .test_docs import ROOT, code_blocks

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
# Few, and enough for an update of each agent.
FEW = {"--steps": "3k", "--episodes": "2"}


def in_short(line: str) -> list[str]:
    """Words of a command line, its steps and episodes cut down; a resumed run goes on for a little longer."""
    words = shlex.split(line)
    few = FEW | ({"--steps": "5k"} if "--resume" in words else {})
    for place, word in enumerate(words[:-1]):
        words[place + 1] = few.get(word, words[place + 1])
    if words[1] == "train" and "--steps" not in words:
        words += ["--steps", FEW["--steps"]]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_works(page: Path, tmp_path: Path):
    text = page.read_text()
    for name, body in re.findall(r"Save this as `(\w+\.py)`.*?```python\n(.*?)```", text, flags=re.DOTALL):
        (tmp_path / name).write_text(body)
    for name, body in re.findall(r"Save this as `(\w+\.yaml)`.*?```yaml\n(.*?)```", text, flags=re.DOTALL):
        (tmp_path / name).write_text(body.replace("100k", FEW["--steps"]))
    environment = os.environ | {"WANDB_MODE": "offline", "SDL_VIDEODRIVER": "dummy", "OMP_NUM_THREADS": "1"}
    lines = [line for block in code_blocks(text, "") for line in block.splitlines() if line]
    assert len(lines) > 3
    for line in lines:
        program, *words = in_short(line)
        assert program == "palaestra"
        done = subprocess.run(
            [sys.executable, "-P", "-m", "palaestra.training.cli.main", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
