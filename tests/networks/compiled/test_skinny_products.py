"""The pass over graphs gives the same numbers, and turns those products round that are faster so."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from palaestra.networks.compiled.skinny_products import SkinnyProducts

aten = torch.ops.aten


def products(graph):
    return [node for node in graph.nodes if node.target in (aten.mm.default, aten.addmm.default)]


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(
    ("rows", "terms", "columns", "turned"),
    [
        (64, 256, 4, True),  # the gradient of a first layer
        (256, 64, 2, True),  # the outputs of a small head
        (256, 64, 64, False),
        (4, 256, 4, False),  # as narrow the other way round
        (256, 8, 2, False),  # too little to sum up
    ],
)
def test_narrow_products_are_turned_round(rows, terms, columns, turned, added):
    def function(left, right, bias):
        return torch.addmm(bias, left, right) if added else left @ right

    torch.manual_seed(0)
    left, right, bias = torch.randn(rows, terms), torch.randn(terms, columns), torch.randn(columns)
    traced = make_fx(function, tracing_mode="fake")(left, right, bias)
    before = products(traced.graph)
    SkinnyProducts()(traced.graph)
    traced.graph.lint()
    traced.recompile()
    after = products(traced.graph)
    assert len(after) == len(before) == 1
    assert (after != before) == turned
    shape = (columns, rows) if turned else (rows, columns)
    assert after[0].meta["val"].shape == shape
    # Sums of up to 256 terms, added up in another order.
    torch.testing.assert_close(traced(left, right, bias), function(left, right, bias), rtol=1e-4, atol=1e-4)


def test_an_addmm_that_scales_is_left_alone():
    def function(left, right, bias):
        return torch.addmm(bias, left, right, alpha=2.0)

    arguments = torch.randn(64, 256), torch.randn(256, 4), torch.randn(4)
    traced = make_fx(function, tracing_mode="fake")(*arguments)
    before = products(traced.graph)
    SkinnyProducts()(traced.graph)
    assert products(traced.graph) == before
