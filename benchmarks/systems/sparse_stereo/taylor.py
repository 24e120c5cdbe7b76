"""Taylor pruning for extremely sparse networks: scores, global ranking, fine-tuning in two modes, then quantization under the mask.

Removing a weight w changes the loss by about g w, so its score is `|g w|` of a mini-batch, averaged over mini-batches (or squared): near an optimum
the mean of g vanishes, that of its size does not. Scores are divided by the l2 norm of their layer and ranked over the whole network. With
`bits` they are taken at the quantized weights Q(w), so that pruning anticipates quantization. Reconstructed from an abstract (arXiv 2010.01892):
which of these is the paper's is not known, nor its fine-tuning mode. Ours are

    masked    what is pruned stays zero
    regrow    gradients at the masked weights go to all weights, and every few steps the mask is ranked again by the scores of these very steps
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import djpq
import hwmodel
from djpq.quantizer import BitsForm, Quantizer
from hwmodel.errors import InputError
from hwmodel.sparsity import INDICES, Index

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]
Weights = Mapping[str, Tensor]
Masks = dict[str, Tensor]
SCALE_BITS = 32  # stored for each quantized layer


def weights_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of convolutions and linear layers by name: what is pruned."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    return {f"{name}.weight": module.weight for name, module in layers.items()}


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """Return a weight on the uniform symmetric grid of least squared error, one scale for the layer."""
    quantizer = Quantizer(signed=True, widths=(bits,), form=BitsForm(), start_bits=bits, learn_power=False)
    quantizer.observe_weight(weight, "mse")
    with torch.no_grad():
        found: Tensor = quantizer(weight)
    return found


# ---- scores and masks ------------------------------------------------------------------------------------------------


def taylor_scores(model: nn.Module, batches: Batches, loss: Loss, *, squared: bool = False, bits: int | None = None) -> dict[str, Tensor]:
    """Return the score of every weight; with `bits` at the quantized weights. The model is left as it was, and is in eval mode meanwhile."""
    weights, training = weights_of(model), model.training
    kept = {name: weight.detach().clone() for name, weight in weights.items()}
    scores, count = {name: torch.zeros_like(weight) for name, weight in kept.items()}, 0
    model.eval()
    with torch.no_grad():
        for name, weight in weights.items():
            if bits is not None:
                weight.copy_(on_grid(kept[name], bits))
    for inputs, targets in batches:
        gradients = torch.autograd.grad(loss(model(inputs), targets), list(weights.values()))
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            change = (gradient * weight.detach()).abs()
            scores[name] += change.square() if squared else change
        count += 1
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(kept[name])
    model.train(training)
    return {name: score / max(1, count) for name, score in scores.items()}


def magnitude_scores(model: nn.Module) -> dict[str, Tensor]:
    """Return the sizes of the weights."""
    return {name: weight.detach().abs() for name, weight in weights_of(model).items()}


def random_scores(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Return scores drawn at random among the weights that are not zero."""
    return {name: torch.rand(weight.shape, generator=generator) * (weight != 0) for name, weight in weights_of(model).items()}


def global_masks(scores: Weights, keep: int, held: Masks | None = None) -> Masks:
    """Return 0/1 masks of exactly `keep` weights: those `held`, the best of each layer, then the best by score over the layer's l2 norm.

    **Errors**: InputError when fewer than one weight a layer, or more than all, should be kept.
    """
    total = sum(score.numel() for score in scores.values())
    if not len(scores) <= keep <= total:
        raise InputError(f"keep is {keep} weights; the range is {len(scores)} (one a layer) to {total}")
    parts = []
    for name, score in scores.items():
        flat = score.flatten().double()
        flat = flat / flat.norm().clamp(min=1e-300)
        first = flat.argmax()
        if held is not None:
            flat = torch.where(held[name].flatten() > 0, flat + 2, flat)  # no score over its norm exceeds 1
        flat[first] = torch.inf
        parts.append(flat)
    ranked = torch.cat(parts)
    mask = torch.zeros_like(ranked)
    mask[ranked.argsort(descending=True, stable=True)[:keep]] = 1
    split = mask.split([part.numel() for part in parts])
    return {name: each.view_as(score).to(score.dtype) for (name, score), each in zip(scores.items(), split, strict=True)}


# ---- what is stored --------------------------------------------------------------------------------------------------


def stored_bits(kept: Weights, weight_bits: int, index: Index) -> int:
    """Return what the layers take, counted by the encoder of the index; each dense where that is less, and with a scale where it is quantized."""
    total = 0
    for values in kept.values():
        is_kept = (values != 0).flatten(1)
        total += min(index.encoded_bits(is_kept, weight_bits), is_kept.numel() * weight_bits) + SCALE_BITS * (weight_bits < 32)
    return total


def best_index(kept: Weights, weight_bits: int) -> Index:
    """Return the index that stores the least; what no index can go below does not count."""
    return min((index for index in INDICES.values() if index.name != "none"), key=lambda index: stored_bits(kept, weight_bits, index))


def keep_within(scores: Weights, limit_bits: float, weight_bits: int) -> int:
    """Return the most weights that can be kept so that the best index stores them within a limit; at least one a layer."""
    low, high = len(scores), sum(score.numel() for score in scores.values())
    while low < high:
        middle = (low + high + 1) // 2
        masks = global_masks(scores, middle)
        if stored_bits(masks, weight_bits, best_index(masks, weight_bits)) <= limit_bits:
            low = middle
        else:
            high = middle - 1
    return low


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuning:
    """How a stretch of fine-tuning runs. `regrow_every`: steps between rankings of the regrow mode, 0 for the masked one."""

    steps: int
    rate: float
    batch_size: int = 4
    range_rate: float = 5e-3
    regrow_every: int = 0
    exchanged: float = 0.1


def endless(data: djpq.Data, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Return training batches, pass after pass."""
    while True:
        yield from data.batches("train", batch_size, generator)


def fine_tune(
    model: nn.Module, weights: Mapping[str, nn.Parameter], masks: Masks, data: djpq.Data, loss: Loss, how: Tuning, generator: torch.Generator
) -> Masks:  # fmt: skip
    """Train a model whose weights stay under their masks (Adam, half a cosine); return the masks, which the regrow mode may change.

    `model` may be the network itself or the attached one that shares its weights.
    """
    ranges = [p for name, p in model.named_parameters() if name.endswith("log_range") and p.requires_grad]
    trained = [p for p in model.parameters() if p.requires_grad and not any(p is q for q in ranges)]
    optimizer = torch.optim.Adam([{"params": trained, "lr": how.rate}, {"params": ranges, "lr": how.range_rate}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, how.steps))
    masks, keep = dict(masks), int(sum(mask.sum() for mask in masks.values()))
    scores = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    batches = endless(data, how.batch_size, generator)
    apply(weights, masks)
    dense = {name: weight.detach().clone() for name, weight in weights.items()} if how.regrow_every else {}
    model.train()
    for step in range(how.steps):
        inputs, targets = next(batches)
        optimizer.zero_grad(set_to_none=True)
        loss(model(inputs), targets).backward()
        with torch.no_grad():
            for name, value in dense.items():
                weight = weights[name]
                weight.copy_(value)  # the step is taken from the dense weights, with the gradient of the masked ones
                assert weight.grad is not None
                scores[name] += (weight.grad * value).abs()
            optimizer.step()
            schedule.step()
            for name in dense:
                dense[name] = weights[name].detach().clone()
            if dense and (step + 1) % how.regrow_every == 0 and step < 0.7 * how.steps:
                left = 1 - how.exchanged * (1 - step / (0.7 * how.steps))
                best = global_masks({name: score * masks[name] for name, score in scores.items()}, max(len(masks), round(left * keep)))
                masks = global_masks(scores, keep, best)
                dense = {name: value * masks[name] for name, value in dense.items()}
                scores = {name: torch.zeros_like(mask) for name, mask in masks.items()}
            apply(weights, masks)
        if isinstance(model, djpq.CompressibleModel):
            model.project()
    model.eval()
    return masks


@torch.no_grad()
def apply(weights: Mapping[str, nn.Parameter], masks: Masks) -> None:
    """Set what is masked to zero."""
    for name, mask in masks.items():
        weights[name].mul_(mask)


# ---- quantization ----------------------------------------------------------------------------------------------------


def quantized(model: nn.Module, data: djpq.Data, weight_bits: int, activation_bits: int) -> djpq.CompressibleModel:
    """Return a copy of the model with quantizers of fixed widths, one scale a tensor, calibrated; weights that are zero stay zero."""
    model = copy.deepcopy(model)
    network = hwmodel.trace(model, (data.train[0][:1],))
    attached = djpq.attach(
        model, network, gates=False, weight_widths=(weight_bits,), activation_widths=(activation_bits,), learn_power=False,
        start_bits=max(weight_bits, activation_bits),
    )  # fmt: skip
    attached.calibrate(data.train[0][:64], weight_start="mse", activation_start="mse")
    return attached


def stored_weights(attached: djpq.CompressibleModel) -> dict[str, Tensor]:
    """Return the weights on their grids; some that the mask keeps may round to zero."""
    quantizers = dict(attached.named_quantizers())
    found = {}
    with torch.no_grad():
        for layer in attached.network.layers:
            if layer.weight:
                found[layer.weight] = quantizers[f"weight {layer.weight.replace('.', '/')}"](attached.module.get_parameter(layer.weight))
    return found


def with_density(compression: hwmodel.Compression, network: hwmodel.Network, kept: Weights, index: Index) -> hwmodel.Compression:
    """Return the compression with the densities of these weights."""
    shares = [float((kept[layer.weight] != 0).double().mean()) if layer.weight else 1.0 for layer in network.layers]
    sizes = [kept[layer.weight].numel() if layer.weight else 1 for layer in network.layers]
    density = torch.tensor([max(share, 1 / size) for share, size in zip(shares, sizes, strict=True)], dtype=torch.float64)
    return replace(compression, weight_density=density, weight_index=index)
