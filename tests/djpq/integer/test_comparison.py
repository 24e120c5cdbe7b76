"""The proof compares every stored value where both models read the same integers."""

import torch

import hwmodel
from djpq.integer import stored_values


def test_a_value_on_a_tie_does_not_count_for_the_layers_behind_it(prune_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    x = torch.rand(2, 1, 8, 8)
    _, finished = prune_at_random(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), x)
    own, _ = stored_values(finished.model, finished.grids, (x,))
    first, second, *rest = own
    read = {name: value.clone() for name, value in own.items()}
    read[first][0] += 1
    found, _ = stored_values(finished.model, finished.grids, (x,), read)
    assert torch.equal(found[first], own[first])  # its own rounding, whatever the others read
    assert not torch.equal(found[second], own[second])
    for name in rest:  # these read what they always read
        assert torch.equal(found[name], own[name])
