"""Differentiable joint pruning and quantization: learn which channels stay and how many bits each tensor gets, on a budget."""

from .adversarial import adversarial_task, blind_attack
from .attach import attach
from .budget import AugmentedLagrangian, Budget, FixedPenalty
from .catalogue import load_runs
from .codesign import Pair, codesign
from .compressible import CompressibleModel
from .datasets import Data, load_data
from .export import export_onnx, pack_weights
from .finalize import Finished, Proof, finalize
from .ladder import ladder
from .objective import Objective
from .pretraining import accuracy, pretrain
from .saving import load_finished, save_finished
from .settings import POWERS_OF_TWO, Settings
from .task import Task
from .train import Result, compress
from .two_temperature import TwoTemperatureGate

__all__ = [
    "POWERS_OF_TWO", "AugmentedLagrangian", "Budget", "CompressibleModel", "Data", "Finished", "FixedPenalty", "Objective", "Pair", "Proof", "Result",
    "Settings", "Task", "TwoTemperatureGate", "accuracy", "adversarial_task", "attach", "blind_attack", "codesign", "compress", "export_onnx", "finalize", "ladder", "load_data",
    "load_finished", "load_runs", "pack_weights", "pretrain", "save_finished",
]  # fmt: skip
