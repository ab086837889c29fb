#!/usr/bin/env bash
# mujoco 3.17.0 to 4.0.0, pip 23.2.1, numpy 2.4.6, Python 3.11
# Date: 2026-11-28
#
# A user would expect: "pip install mujoco==4.0.0" over an installed 3.17.0 gives a
# working 4.0.0, as pip says that it did.
#
# Behaviour: version 4 is split into mujoco, mujoco-core and mujoco-studio, which
# write into one folder. pip installs mujoco-core first and then removes version 3,
# files that both have included. pip exits with 0, "pip check" finds nothing, and the
# import fails. The same install in an environment without version 3 works, as does
# a second install with --force-reinstall --no-deps of mujoco-core.
#
# Seen:
#   pip check: No broken requirements found.
#   import after the upgrade: ImportError: The 'mujoco' package is installed, but its core
#   bindings ('mujoco-core') are missing or corrupted ...
#   import after the repair: 4.0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install --quiet pip==23.2.1
venv/bin/pip install --quiet numpy==2.4.6 mujoco==3.17.0
venv/bin/python -c 'import mujoco; assert mujoco.__version__ == "3.17.0"'
venv/bin/pip install --quiet mujoco==4.0.0
echo "pip check: $(venv/bin/pip check)"
venv/bin/python - <<'PYTHON'
try:
    import mujoco
except ImportError as error:
    message = str(error)
else:
    message = ""
print("import after the upgrade: ImportError:", message)

assert "mujoco-core" in message
PYTHON
venv/bin/pip install --quiet --force-reinstall --no-deps mujoco-core==4.0.0
venv/bin/python - <<'PYTHON'
import mujoco

print("import after the repair:", mujoco.__version__)

assert mujoco.__version__ == "4.0.0"
PYTHON
