"""The blocks against torch's own."""

import pytest
import torch
from torch import nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.nn import blocks


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_convolutions_are_torch_s(dilation):
    x, w = torch.randn(2, 3, 11), torch.randn(4, 3, 5)
    same = nn.functional.conv1d(x, w, padding=2 * dilation, dilation=dilation)
    assert torch.allclose(blocks.convolve1d(x, w, dilation=dilation), same, atol=1e-5)
    past = nn.functional.conv1d(nn.functional.pad(x, (4 * dilation, 0)), w, dilation=dilation)
    assert torch.allclose(blocks.convolve1d(x, w, dilation=dilation, causal=True), past, atol=1e-5)
    images, kernels = torch.randn(2, 3, 6, 7), torch.randn(4, 3, 3, 3)
    assert torch.allclose(
        blocks.convolve2d(images, kernels), nn.functional.conv2d(images, kernels, padding=1), atol=1e-5
    )


def test_a_causal_convolution_does_not_see_what_comes():
    layer, x = blocks.CausalConvolution(2, 3, 4, dilation=2), torch.randn(1, 2, 12)
    changed = x.clone()
    changed[..., 7:] = 9.0
    assert torch.equal(layer(x)[..., :7], layer(changed)[..., :7])


def test_normalisation_is_torch_s():
    x = torch.randn(8, 5)
    assert torch.allclose(blocks.normalise(x, -1), nn.functional.layer_norm(x, (5,)), atol=1e-5)
    assert torch.allclose(blocks.normalise(x, 0), nn.BatchNorm1d(5)(x), atol=1e-5)
    block = blocks.ResidualBlock(nn.Linear(5, 5), 5)
    assert torch.allclose(block(x), x + block.module(nn.functional.layer_norm(x, (5,))), atol=1e-5)


def test_attention_is_torch_s():
    q, k, v = torch.randn(2, 4, 8), torch.randn(2, 6, 8), torch.randn(2, 6, 3)
    assert torch.allclose(
        blocks.attention(q, k, v), nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-5
    )
    x, mask = torch.randn(2, 5, 8), blocks.causal_mask(5)
    ours, peer = blocks.MultiHeadAttention(8, 2), nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(ours.inward.weight)
        peer.out_proj.weight.copy_(ours.outward.weight)
    assert torch.allclose(ours(x, mask), peer(x, x, x, attn_mask=~mask)[0], atol=1e-5)


def test_a_query_that_may_look_nowhere_gets_zeros():
    x = torch.randn(1, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    out = blocks.attention(x, x, x, mask)
    assert out[0, 1].tolist() == [0.0] * 4
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_rotated_products_depend_on_distance_alone():
    q, k = torch.randn(1, 8).expand(10, 8), torch.randn(1, 8).expand(10, 8)
    products = blocks.rotate_by_position(q) @ blocks.rotate_by_position(k).T
    for offset in (-3, 0, 4):
        assert torch.allclose(products.diagonal(offset), products.diagonal(offset)[:1], atol=1e-4)
    assert blocks.sinusoidal_positions(5, 6).shape == (5, 6)


def test_a_graph_convolution_is_its_formula():
    adjacency = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])
    layer, x = blocks.GraphConvolution(4, 2), torch.randn(3, 4)
    out, order = layer(x, adjacency), torch.tensor([2, 0, 1])
    assert torch.allclose(out[2], layer.linear(x[2]))  # alone, it sees itself
    assert torch.allclose(out[0], (layer.linear(x[0]) + layer.linear(x[1])) / 2, atol=1e-6)
    assert torch.allclose(layer(x[order], adjacency[order][:, order]), out[order], atol=1e-6)


@pytest.mark.parametrize("gated", [False, True])
def test_cells_are_torch_s(gated):
    ours = blocks.RecurrentCell(3, 4, gated=gated)
    peer = (nn.GRUCell if gated else nn.RNNCell)(3, 4)
    with torch.no_grad():
        peer.weight_ih.copy_(ours.of_input.weight)
        peer.weight_hh.copy_(ours.of_state.weight)
        peer.bias_ih.copy_(ours.of_input.bias)
        peer.bias_hh.copy_(ours.of_state.bias)
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    assert torch.allclose(ours(x, h), peer(x, h), atol=1e-6)


def test_a_linear_recurrence_is_its_loop():
    layer, x = blocks.LinearRecurrence(3, 4), torch.randn(2, 9, 3)
    h, decay = torch.zeros(2, 4), torch.sigmoid(layer.decay_logit)
    for t in range(9):
        h = decay * h + layer.inward(x[:, t])
    assert torch.allclose(layer(x)[:, -1], h, atol=1e-5)


def test_bad_sizes():
    with pytest.raises(InputError, match="expected"):
        blocks.convolve1d(torch.ones(1, 2, 3), torch.ones(1, 3, 3))
    with pytest.raises(ParameterError, match="odd"):
        blocks.convolve1d(torch.ones(1, 2, 3), torch.ones(1, 2, 2))
    with pytest.raises(InputError, match="odd"):
        blocks.convolve2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    with pytest.raises(ParameterError, match="multiple"):
        blocks.MultiHeadAttention(6, 4)
    with pytest.raises(ParameterError, match="even"):
        blocks.sinusoidal_positions(3, 5)
