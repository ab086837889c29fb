"""`python -m palaestra` is the `palaestra` command."""

import os
import sys

# Python looks for every module in the working directory first, where a folder from someone else may hold some with the
# names of ours and of other packages. The command adds it where the user names what lies there.
sys.path[:1] = [place for place in sys.path[:1] if place not in ("", os.getcwd())]

from .training.cli.main import main  # noqa: E402

main()
