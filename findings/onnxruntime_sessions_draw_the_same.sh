#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2, Python 3.11
# Date: 2026-11-28
#
# A user would expect: a random node without a seed ("if not specified we will auto generate
# one", says the ONNX operator RandomUniformLike) draws other numbers in every session, so that
# two players of one stochastic policy act independently.
#
# Behaviour: all sessions that one process makes of a file draw the same numbers, call by call.
# Another process draws others. onnxruntime.set_seed(N) before a session is made changes them.
#
# Seen:
#   two sessions, first calls equal: True, second calls equal: True
#   one session, first and second call equal: False
#   a session after set_seed(1), equal to the others: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("RandomUniformLike", ["x"], ["y"])], "random", ports[:1], ports[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def calls(session):
    return [session.run(None, {"x": np.zeros(1000, np.float32)})[0] for _ in range(2)]


one, other = (calls(onnxruntime.InferenceSession(model)) for _ in range(2))
first, second = (np.array_equal(a, b) for a, b in zip(one, other))
print(f"two sessions, first calls equal: {first}, second calls equal: {second}")
print(f"one session, first and second call equal: {np.array_equal(*one)}")
onnxruntime.set_seed(1)
seeded = calls(onnxruntime.InferenceSession(model))
print(f"a session after set_seed(1), equal to the others: {np.array_equal(seeded[0], one[0])}")

assert first and second
assert not np.array_equal(*one) and not np.array_equal(seeded[0], one[0])
PYTHON
