"""Row 104, BinaryConnect: digits with weights of one bit against real ones, the size of the file, and the time of a packed product."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hardgrad.reproductions.binary_digits import digits, each_seed, real_accuracy, trained
from hardgrad.reproductions.registry import Measured, Scale, reproduction

SEEDS = {"smoke": 1, "full": 5}
EPOCHS = {"smoke": 5, "full": 60}
BEHIND_FLOAT = {"smoke": 0.05, "full": 0.01}
SMALLER_FILE = 18.0
FASTER_PRODUCT = 3.0
SIDE, ROWS = 1024, 256  # of the timed product
TURNS = 9


@reproduction(
    row=104,
    slug="binary-connect",
    title="BinaryConnect: Training Deep Neural Networks with binary weights during propagations",
    venue="NeurIPS 2015",
    claim=(
        "Test error on MNIST: no regulariser 1.30 %, deterministic binary weights 1.29 %, stochastic 1.18 %, 50 % dropout 1.01 %; CIFAR-10 "
        "10.64 / 9.90 / 8.27 % and SVHN 2.44 / 2.30 / 2.15 % without regulariser, deterministic, stochastic (here scikit-learn's digits)"
    ),
)
def binary_connect(scale: Scale) -> Sequence[Measured]:
    """Train 64-256-256-10 with real, deterministic and drawn binary weights; full: 5 seeds, 60 epochs; smoke: 1 seed, 5 epochs."""
    found = each_seed(_compare, SEEDS[scale], EPOCHS[scale])
    mean = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
    return [
        Measured.reported("accuracy, real weights", mean["float"]),
        Measured.reported("accuracy, stochastic training, packed with batch statistics of the bits", mean["drawn"]),
        Measured.reported("accuracy, stochastic training, packed with batch statistics of the draws", mean["stale"]),
        Measured.reported("accuracy, deterministic, packed", mean["packed"]),
        Measured.at_least(
            "accuracy, deterministic and packed, less real weights", mean["packed"] - mean["float"], 0.0 - BEHIND_FLOAT[scale]
        ),
        Measured.reported(
            "test rows on which the packed network and mode hard name different classes, of all seeds",
            sum(one["differ"] for one in found),
        ),
        Measured.exactly("float32 bytes of the weights over packed bytes", mean["weights"], 32.0),
        Measured.at_least("float32 file over packed file", mean["file"], SMALLER_FILE),
        *_products(scale),
    ]  # fmt: skip


def _compare(seed: int, epochs: int) -> dict[str, float]:
    import torch

    import hardgrad

    torch.set_num_threads(1)
    data = digits(seed)
    with hardgrad.mode("soft"):  # the surrogate of the identity is the weight itself
        real = trained(data, seed, epochs=epochs, weight_surrogate="identity")
    network = trained(data, seed, epochs=epochs)
    drawn = trained(data, seed, epochs=epochs, sampling="stochastic", lr_scale="glorot")
    packed = network.harden()
    scores = packed.scores(data.X_test.numpy(), engine="numba")
    with torch.no_grad(), hardgrad.mode("hard"):
        exact = network(data.X_test).argmax(1).numpy()
    return {
        "float": real_accuracy(real, data),
        "packed": data.accuracy(packed),
        "drawn": data.accuracy(drawn.harden(calibration=data.X)),
        "stale": data.accuracy(drawn.harden_as_is()),
        "differ": float((scores.argmax(1) != exact).sum()),
        "weights": sum(4 * layer.inputs * len(layer.words) for layer in packed.layers) / packed.words.nbytes,
        "file": _file_ratio(real, packed),
    }


def _file_ratio(real: Any, packed: Any) -> float:
    """Return how many times the file of a float32 network is larger than that of the packed one; both are safetensors."""
    from safetensors.numpy import save_file

    state = {
        name: value.numpy() for name, value in real.state_dict().items() if value.dtype.is_floating_point
    }
    with tempfile.TemporaryDirectory() as folder:
        save_file(state, Path(folder) / "real.safetensors")
        whole = (Path(folder) / "real.safetensors").stat().st_size
        return whole / float(packed.save(Path(folder) / "packed.safetensors").stat().st_size)


def _products(scale: Scale) -> list[Measured]:
    """Time a product of 256 rows of 1,024 signs with 1,024 units, in float32 by torch and packed; processor time on one thread."""
    import torch

    from hardgrad.bits import PackedLinear
    from hardgrad.core.bit_words import pack_bits

    rng = np.random.default_rng(0)
    x, w = rng.choice([-1.0, 1.0], (ROWS, SIDE)).astype(np.float32), rng.choice([-1.0, 1.0], (SIDE, SIDE))
    layer, words = PackedLinear.of(w), pack_bits(x > 0)
    left, right = torch.from_numpy(x), torch.from_numpy(w.astype(np.float32))
    jobs: dict[str, Callable[[], Any]] = {
        "float32": lambda: left @ right.T,
        "packed": lambda: layer.dot_bits(words, engine="numba"),
        "packing too": lambda: layer.dot_bits(pack_bits(x > 0), engine="numba"),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        wrong = float((jobs["packed"]() != jobs["float32"]().numpy()).sum())
        least = dict.fromkeys(jobs, math.inf)
        for _ in range(TURNS):
            for name, job in jobs.items():
                begun = time.process_time()
                job()
                least[name] = min(least[name], time.process_time() - begun)
    finally:
        torch.set_num_threads(threads)
    name = f"time of a float32 product over a packed one, {ROWS} rows, {SIDE} x {SIDE}"
    ratio = least["float32"] / least["packed"]
    timed = (
        Measured.reported(name, ratio) if scale == "smoke" else Measured.at_least(name, ratio, FASTER_PRODUCT)
    )
    return [
        Measured.exactly("elements of the packed product that differ from the float32 one", wrong, 0.0),
        timed,  # a busy machine says nothing about time
        Measured.reported(f"{name}, packing the inputs too", least["float32"] / least["packing too"]),
    ]
