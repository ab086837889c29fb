"""The files that a policy is written to, and how to run them."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from ...networks.vectors import leaf_spaces
from ..settings.usage import UsageError, nearest
from .choices import torch_type
from .policy import ExportedPolicy
from .random_envs import draw

Format = Literal["onnx", "torchscript", "torch-export"]
SUFFIXES: dict[str, Format] = {
    ".onnx": "onnx",
    ".pt": "torchscript",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
    ".pt2": "torch-export",
}
# Old enough for most runtimes, new enough for GELU and layer norms as single nodes.
OPSET = 20

# From inputs by name, arrays `[B, ...]`, to outputs by name.
Runner = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def choose_format(name: str | None, out: Path | None) -> Format:
    """The format that was asked for, or that the file's suffix says; onnx where neither is given.

    Raises:
        UsageError: the suffix says nothing, or the package for it is not there.
    """
    if name is not None and name not in get_args(Format):
        raise UsageError(f"--format: there is no {name!r}; {nearest(name, get_args(Format))}")
    if name is None and out is not None and out.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise UsageError(f"--out {out}: its suffix names no format ({known}); give --format")
    chosen: Any = name or (SUFFIXES[out.suffix] if out is not None else "onnx")
    if chosen == "onnx":
        try:
            import onnxruntime as _runtime  # noqa: F401
            import onnxscript as _script  # noqa: F401
        except ImportError as error:
            raise UsageError(f'onnx needs {error.name}: pip install "palaestra[export]"') from None
    return chosen


def suffix_of(format: Format) -> str:
    """The usual suffix of a format."""
    return next(suffix for suffix, name in SUFFIXES.items() if name == format)


def write(policy: ExportedPolicy, format: Format, file: Path) -> None:
    """Write a policy, with a dynamic batch."""
    with _quiet(), torch.no_grad():
        example = _example(policy)
        batch = torch.export.Dim("batch")
        dynamic = tuple({0: batch} for _ in example)
        if format == "torchscript":
            torch.jit.save(torch.jit.trace(policy, example, check_trace=False), str(file))
            return
        program = torch.export.export(policy, example, dynamic_shapes=(dynamic,))
        if format == "torch-export":
            # Into memory: given a file of another suffix, torch warns.
            torch.export.save(program, buffer := io.BytesIO())
            file.write_bytes(buffer.getvalue())
        else:
            exported = torch.onnx.export(
                program,
                (),
                input_names=[port.name for port in policy.inputs],
                output_names=[port.name for port in policy.outputs],
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
            assert exported is not None
            exported.save(str(file))


def open_policy(policy: ExportedPolicy, format: Format, file: Path) -> Runner:
    """Load a file that `write` has just written."""
    if format == "onnx":
        return onnx_runner(file)
    with _quiet():
        data = io.BytesIO(file.read_bytes())
        module = torch.jit.load(data) if format == "torchscript" else torch.export.load(data).module()
    names = [port.name for port in policy.outputs]

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = module(*(torch.as_tensor(inputs[port.name]) for port in policy.inputs))
        return dict(zip(names, (output.numpy() for output in outputs), strict=True))

    return run


def onnx_runner(file: Path) -> Runner:
    """Load an ONNX file into onnxruntime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


def _example(policy: ExportedPolicy) -> tuple[torch.Tensor, ...]:
    """Inputs to trace: observations of the space, since 0 need not be one, and zeros for all else.

    A batch of 2, because torch takes an axis of length 1 for one that is always so.
    """
    generator = np.random.default_rng(0)
    obs = [torch.as_tensor(draw(leaf, 2, generator)) for leaf in leaf_spaces(policy.observed.raw_space)]
    others = policy.inputs[len(obs) :]
    return (*obs, *(torch.zeros((2, *port.shape), dtype=torch_type(port.dtype)) for port in others))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say to their own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
