"""Matrix products whose result is tall and narrow, computed the other way round: a pass of TorchInductor's.

The gradient of a first layer's weights `[64, 4]`, or the outputs of a small head `[256, 2]`, take MKL 20 to 30 us where
the same numbers as a `[4, 64]` or `[2, 256]` take 5.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._ops import OpOverload
from torch.fx import Graph, Node

aten = torch.ops.aten
# Columns of a narrow result, and how many numbers are summed up for each of its elements, at least.
NARROW, LONG = 8, 16


class SkinnyProducts(CustomGraphPass):
    """`A @ B` becomes `(B.T @ A.T).T` where that is faster."""

    def __call__(self, graph: Graph) -> None:
        """Rewrite a graph in place."""
        for node in list(graph.nodes):
            if node.op == "call_function" and node.target in (aten.mm.default, aten.addmm.default):
                left, right = node.args[-2:]
                rows, terms = left.meta["val"].shape
                columns = right.meta["val"].shape[1]
                if columns <= NARROW < rows and terms >= LONG and not node.kwargs:
                    node.replace_all_uses_with(_turned(graph, node, left, right))
                    graph.erase_node(node)

    def uuid(self) -> bytes:
        """What compiled code is found again by."""
        return get_hash_for_files((__file__,))


def _turned(graph: Graph, node: Node, left: Node, right: Node) -> Node:
    def add(target: OpOverload, *arguments: Any) -> Node:
        new = graph.call_function(target, arguments)
        new.meta["val"] = target(*(x.meta["val"] if isinstance(x, Node) else x for x in arguments))
        return new

    with graph.inserting_before(node), node.meta["val"].fake_mode:
        flipped = [add(aten.permute.default, part, [1, 0]) for part in (right, left)]
        product = add(aten.permute.default, add(aten.mm.default, *flipped), [1, 0])
        # Behind an `addmm` comes what it adds to.
        return add(aten.add.Tensor, product, node.args[0]) if len(node.args) == 3 else product
