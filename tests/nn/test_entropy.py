import copy

import pytest
import torch

import hardgrad
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.losses import run_entropy
from hardgrad.nn import EntropyNet, EntropyRegularizedAttention


@pytest.mark.parametrize("options", [{}, {"kernel_size": 5, "window": 7}, {"dimensions": 3}])
def test_starts_as_the_identity_and_learns(options):
    torch.manual_seed(0)
    net = EntropyNet(scale=0.1, **options)
    x = torch.rand(4, 32, 3) if options.get("dimensions") else torch.rand(4, 32)
    assert torch.equal(net(x), x)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        moved = net(x)
        loss = run_entropy(moved.flatten(1), temperature=0.1).mean() + net.distortion(x, moved)
        optimizer.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters())
        optimizer.step()
    assert not torch.equal(net(x), x)


def test_a_net_of_points_moves_each_by_itself():
    torch.manual_seed(0)
    net = EntropyNet(2)
    torch.nn.init.normal_(net.layers[-1].weight)
    x = torch.rand(10, 2)
    order = torch.randperm(10)
    assert torch.allclose(net(x)[order], net(x[order]))


def test_a_net_refuses_what_it_cannot_move():
    with pytest.raises(InputError, match="expected"):
        EntropyNet(3)(torch.rand(5, 2))
    with pytest.raises(ParameterError, match="odd"):
        EntropyNet(kernel_size=4)
    with pytest.raises(ParameterError, match="depth"):
        EntropyNet(depth=1)


def test_attention_is_torch_s_where_nothing_is_dropped():
    torch.manual_seed(0)
    attention = EntropyRegularizedAttention(8, heads=2)
    x = torch.randn(3, 5, 8)
    peer = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        maps = attention.projections
        peer.in_proj_weight.copy_(torch.cat([maps.query.weight, maps.key.weight, maps.value.weight]))
        peer.out_proj.weight.copy_(maps.out.weight)
    expected, weights = peer(x, x, x, average_attn_weights=False)
    found = attention(x)
    assert torch.allclose(found.output, expected, atol=1e-6)
    assert torch.allclose(found.weights, weights, atol=1e-6)
    bits = torch.distributions.Categorical(probs=weights).entropy().mean() / torch.log(torch.tensor(2.0))
    assert torch.allclose(found.entropy, bits, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "kept"), [({"sparsity": 0.8}, 2), ({"sparsity": 0.95}, 1), ({"mass": 1e-6}, 1)]
)
def test_hard_attention_keeps_the_heaviest_keys(options, kept):
    torch.manual_seed(0)
    attention = EntropyRegularizedAttention(8, **options)
    x = torch.randn(2, 10, 8)
    soft, hard = attention(x).weights, attention(x, mode="hard").weights
    assert (hard > 0).sum(-1).unique().tolist() == [kept]
    assert torch.allclose(hard.sum(-1), torch.ones(2, 1, 10))
    assert torch.equal(hard.argmax(-1), soft.argmax(-1))
    through = attention(x, mode="st")
    assert torch.equal(through.weights, hard)
    through.output.sum().backward()
    assert attention.projections.query.weight.grad.abs().sum() > 0


def test_mass_keeps_the_fewest_keys_that_have_it():
    torch.manual_seed(0)
    attention = EntropyRegularizedAttention(8, mass=0.7)
    x = torch.randn(2, 10, 8)
    soft, hard = attention(x).weights, attention(x, mode="hard").weights
    share = (soft * (hard > 0)).sum(-1)
    lightest = torch.where(hard > 0, soft, torch.inf).amin(-1)
    assert (share >= 0.7).all() and (share - lightest < 0.7).all()


def test_hardens_inside_a_model_and_again():
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"attention": EntropyRegularizedAttention(8, sparsity=0.5)})
    x = torch.randn(2, 6, 8)
    exact = hardgrad.harden(hardgrad.harden(model))
    assert torch.equal(exact["attention"](x).output, model["attention"](x, mode="hard").output)
    with hardgrad.mode("hard"):
        assert torch.equal(model["attention"](x).output, exact["attention"](x).output)
    assert copy.deepcopy(exact)["attention"](x).weights.shape == (2, 1, 6, 6)


@pytest.mark.parametrize(
    "options", [{"heads": 3}, {"sparsity": 1.0}, {"mass": 0.0}, {"mass": 0.5, "sparsity": 0.5}]
)
def test_attention_refuses_bad_shares(options):
    with pytest.raises(ParameterError, match="expected"):
        EntropyRegularizedAttention(8, **options)
