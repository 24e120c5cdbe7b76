"""Gates start near the identity, count exactly, and are ordered before they are pruned."""

import pytest
import torch

from djpq.gate import ChannelGate, GateSite, information, kept_counts, soft_counts


def test_start_is_nearly_the_identity_and_prunes_nothing() -> None:
    gate = ChannelGate(64, log_variance=-9.0)
    assert float(gate.log_alpha().detach().exp().mean()) == pytest.approx(8103, rel=1e-3)
    assert int(gate.kept().sum()) == 64
    site = GateSite({"g": gate}, torch.arange(64), (1,))
    torch.manual_seed(0)
    x = torch.ones(256, 64, 2, 2)
    noisy = site.train()(x).detach()
    assert float((noisy - x).std()) == pytest.approx(0.0111, rel=0.05)  # sigma = e^-4.5
    assert torch.equal(noisy[..., 0, 0], noisy[..., 1, 1])  # one draw a sample and channel, shared over positions
    gate.eval()
    assert torch.equal(site.eval()(x), x)


def test_count_is_hard_and_its_gradient_soft() -> None:
    gate = ChannelGate(4, log_variance=0.0)
    with torch.no_grad():
        gate.log_variance.copy_(torch.tensor([-3.0, -1.0, 1.0, 3.0]))
    count = kept_counts([gate])
    assert count.tolist() == [2]
    count.sum().backward()
    s = torch.sigmoid(gate.log_alpha().detach())
    assert gate.log_variance.grad is not None
    assert torch.allclose(gate.log_variance.grad, -s * (1 - s), atol=1e-6)


def test_one_channel_always_stays() -> None:
    gate = ChannelGate(3, log_variance=5.0)
    with torch.no_grad():
        gate.log_variance[1] = 4.0
    assert gate.kept().tolist() == [0, 1, 0]
    assert kept_counts([gate, ChannelGate(2, -5.0)]).tolist() == [1, 2]


def test_removed_channels_are_zero_in_training_and_still_get_a_gradient() -> None:
    gate = ChannelGate(2, log_variance=-5.0)
    with torch.no_grad():
        gate.log_variance[0] = 2.0
    site = GateSite({"g": gate}, torch.arange(2), (1,)).train()
    y = site(torch.ones(8, 2))
    assert torch.equal(y[:, 0], torch.zeros(8))
    (y * torch.tensor([1.0, 0.0])).sum().backward()
    assert gate.log_variance.grad is not None
    assert float(gate.log_variance.grad[0]) != 0


def test_order_follows_importance() -> None:
    gate = ChannelGate(5, log_variance=-5.0)
    gate.order(torch.tensor([3.0, 1.0, 4.0, 0.0, 2.0]), spread=4.0)
    assert gate.log_alpha().argsort().tolist() == [3, 1, 4, 0, 2]
    strength = gate.log_alpha().detach()
    assert float(strength.max() - strength.min()) == pytest.approx(4.0)


def test_channels_point_into_the_joined_gates_and_past_them() -> None:
    first, second = ChannelGate(2, log_variance=-5.0), ChannelGate(1, log_variance=-5.0)
    first.freeze(torch.tensor([1.0, 0.0]))
    second.freeze(torch.tensor([0.0]))
    site = GateSite({"a": first, "b": second}, torch.tensor([0, 0, 1, 2, 3]), (1,))
    assert site.value(1)[0].tolist() == [1, 1, 0, 0, 1]
    assert (site.groups, site.plain) == (("a", "b"), False)


def test_a_gate_over_several_axes_and_over_heads_that_share_the_batch_axis() -> None:
    gate = ChannelGate(2, log_variance=-5.0)
    gate.freeze(torch.tensor([1.0, 0.0]))
    x = torch.rand(3, 2, 5, 2)
    spread = GateSite({"a": gate}, torch.tensor([[0, 1], [1, 1]]), (1, 3))
    assert torch.equal(spread(x), x * torch.tensor([[1.0, 0.0], [0.0, 0.0]])[:, None])
    heads = GateSite({"a": gate}, torch.tensor([0, 1]), (0,))
    assert torch.equal(heads(x.flatten(0, 1)), (x * torch.tensor([1.0, 0.0])[:, None, None]).flatten(0, 1))


def test_papers_soft_count_saturates_at_the_start() -> None:
    """The pitfall that the straight-through count avoids: alpha is thousands, its sigmoid has no gradient."""
    gate = ChannelGate(8, log_variance=-9.0)
    soft_counts([gate], temperature=1.0).sum().backward()
    assert gate.log_variance.grad is not None
    assert float(gate.log_variance.grad.abs().max()) == 0


def test_information_is_vib_s() -> None:
    gate = ChannelGate(3, log_variance=-2.0)
    assert float(information([gate]).detach()) == pytest.approx(0.5 * 3 * float(torch.log1p(torch.tensor(2.0).exp())), rel=1e-4)


def test_the_threshold_moves_what_is_kept_and_not_the_information() -> None:
    one, low = ChannelGate(4, 0.0), ChannelGate(4, 0.0, threshold=0.1)
    for gate in (one, low):
        with torch.no_grad():
            gate.log_variance.copy_(torch.tensor([-3.0, -0.5, 1.0, 4.0]))  # alpha is e^3, e^0.5, e^-1, e^-4
    assert one.kept().tolist() == [1, 1, 0, 0]
    assert low.kept().tolist() == [1, 1, 1, 0]
    assert information([one]).item() == pytest.approx(information([low]).item(), rel=1e-6)
    alpha = torch.exp(torch.tensor([3.0, 0.5, -1.0, -4.0]))
    assert soft_counts([low], 2.0).item() == pytest.approx(torch.sigmoid((alpha - 0.1) / 2.0).sum().item(), rel=1e-5)
