"""What the module `bioimageio` adds to the time and memory of a network of usual size.

`PYTHON benchmarks/bioimageio_speed.py [SIDE ...]`, with the Python of the module's environment. The
network is a U-Net (Ronneberger 2015) of four levels with 32 to 256 features, random weights, halo
12 px. Times are seconds of the process on one core, so that other programs do not count.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modules" / "bioimageio"))
import numpy as np
import test_worker
import torch
import worker
from torch import nn

FEATURES = (32, 64, 128, 256)
HALO = 12


class UNet(nn.Module):
    """(1, 1, y, x) to (1, 2, y, x); sides are multiples of 8 px."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        pairs = list(zip(FEATURES[1:], FEATURES[:-1], strict=True))
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((1, *FEATURES), FEATURES))  # noqa: B905
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs[::-1])
        self.join = nn.ModuleList(_block(2 * b, b) for _, b in pairs[::-1])
        self.last = nn.Conv2d(FEATURES[0], 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of two classes."""
        kept = []
        for block in self.down:
            image = block(nn.functional.max_pool2d(image, 2) if kept else image)
            kept.append(image)
        for up, join, skip in zip(self.up, self.join, kept[-2::-1], strict=True):
            image = join(torch.cat((skip, up(image)), dim=1))
        return torch.sigmoid(self.last(image))


def _block(taken: int, given: int) -> nn.Sequential:
    first, second = nn.Conv2d(taken, given, 3, padding=1), nn.Conv2d(given, given, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


def seconds(run: Callable[[], object]) -> float:
    """Return the process's time of the best of three runs."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return min(spent)


def main() -> None:
    """Print one line for each side."""
    torch.set_num_threads(1)
    test_worker.HALO, test_worker.Net = HALO, UNet
    torch.jit.script = lambda net: torch.jit.trace(net, torch.zeros(1, 1, 64, 64))
    bare = UNet().eval()
    with tempfile.TemporaryDirectory() as folder:
        model = test_worker.package(folder)
        for side in map(int, sys.argv[1:] or ("512", "1024")):
            image = np.random.default_rng(0).integers(0, 4000, (side, side)).astype(np.uint16)
            began = time.process_time()
            worker.predict(image[:64, :64], model=model, device="cpu")
            loaded = time.process_time() - began
            pixels = torch.from_numpy(image.astype(np.float32))[None, None]
            with torch.no_grad():
                alone = seconds(lambda pixels=pixels: bare(pixels))
            ours = seconds(lambda image=image: worker.predict(image, model=model, device="cpu"))
            print(f"{side} px: bare {alone:.2f} s, module {ours:.2f} s, first small {loaded:.2f} s")


if __name__ == "__main__":
    main()
