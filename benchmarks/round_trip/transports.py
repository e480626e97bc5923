"""The ways of an image to another process and of its mask back.

Each is a context manager that gives a function ``call(image, mask) -> mask``. `mask` stands for the
array that NIS hands to a node: the result ends there, except with `ours_view`, which leaves it in
the shared memory. All memory and all processes that live on are reused between the calls.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.round_trip import own_module, peer
from ga3_nodes import client, shm

Shape = tuple[int, ...]
Call = Callable[[np.ndarray, np.ndarray], np.ndarray]


@contextmanager
def floor(folder: Path, shape: Shape) -> Iterator[Call]:
    """No other process: one copy of the image, and one of a mask."""
    inside = np.zeros(shape, np.uint16)
    outside = np.ones(shape, np.int32)  # zeros never written to are one page, and cost no reading

    def call(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        np.copyto(inside, image)
        np.copyto(mask, outside)
        return mask

    yield call


@contextmanager
def ours_view(folder: Path, shape: Shape) -> Iterator[Call]:
    """Our client; the mask is used where it lies, in the shared memory."""

    def call(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        result = client.call(own_module.NAME, "segment", {"image": image}, copy=False)
        return result["labels"]

    yield call


@contextmanager
def ours_copy(folder: Path, shape: Shape) -> Iterator[Call]:
    """Our client, as the node scripts use it: the mask is written into the node's array."""

    def call(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        client.call(own_module.NAME, "segment", {"image": image}, copy=False, out={"labels": mask})
        return mask

    yield call


@contextmanager
def appose(folder: Path, shape: Shape) -> Iterator[Call]:
    """Appose, with arrays in its shared memory that are made once and given to each task."""
    import appose

    script = "segment_into(image.ndarray(), mask.ndarray())"
    init = f"import sys; sys.path.append({str(peer.PROJECT)!r})\n"
    init += "import numpy\nfrom benchmarks.round_trip.work import segment_into"
    with contextlib.ExitStack() as stack:
        arrays = {}
        for number, (name, dtype) in enumerate((("image", "uint16"), ("mask", "int32"))):
            memory = appose.SharedMemory(
                name=f"{folder.name}-{number}",  # so that `envmanager` can sweep it
                create=True,
                rsize=prod(shape) * np.dtype(dtype).itemsize,
            )
            stack.enter_context(memory)
            arrays[name] = appose.NDArray(dtype, list(shape), memory)
        # Not `wrap`, which downloads a uv for an environment that uv has made.
        environment = appose.custom().base(Path(sys.executable).parent).build()
        service = environment.python().init(init)
        stack.callback(service.wait_for)
        stack.callback(service.close)

        def call(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
            np.copyto(arrays["image"].ndarray(), image)
            service.task(script, arrays).wait_for()
            np.copyto(mask, arrays["mask"].ndarray())
            return mask

        yield call


@contextmanager
def npy_live(folder: Path, shape: Shape) -> Iterator[Call]:
    """Files in NumPy's format, and a process that lives on."""
    there, back = str(folder / "image.npy"), str(folder / "mask.npy")
    with _peer() as ask:

        def call(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
            np.save(there, image)
            ask({"from": "files", "image": there, "mask": back})
            np.copyto(mask, np.load(back))
            return mask

        yield call


@contextmanager
def shm_per_call(folder: Path, shape: Shape) -> Iterator[Call]:
    """Shared memory that is made for each call, and a process that lives on."""
    size = prod(shape)

    def call(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        there, back = shm.create(size * 2), shm.create(size * 4)
        np.copyto(peer.array(there, shape, np.uint16), image)
        handles = {"image": there.handle, "mask": back.handle}
        ask({"from": "memory", "shape": list(shape), **handles})
        np.copyto(mask, peer.array(back, shape, np.int32))
        return mask

    with _peer() as ask:
        yield call


@contextmanager
def process_numpy(folder: Path, shape: Shape) -> Iterator[Call]:
    """A process for each call, which imports NumPy and nothing else; files in NumPy's format."""
    command = [sys.executable, *peer.ARGUMENTS]
    there, back = str(folder / "image.npy"), str(folder / "mask.npy")

    def call(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        np.save(there, image)
        subprocess.run([*command, there, back], cwd=peer.PROJECT, check=True)
        np.copyto(mask, np.load(back))
        return mask

    yield call


@contextmanager
def _peer() -> Iterator[Callable[[dict[str, object]], None]]:
    """Start a process that lives on; give the function that asks it and waits for its answer."""
    with subprocess.Popen(
        [sys.executable, *peer.ARGUMENTS],
        cwd=peer.PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout

        def ask(question: dict[str, object]) -> None:
            questions.write(json.dumps(question).encode() + b"\n")
            questions.flush()
            if answers.readline() != peer.DONE:
                raise RuntimeError("the process that lives on has ended")

        yield ask
        questions.close()


TRANSPORTS: dict[str, Callable[[Path, Shape], contextlib.AbstractContextManager[Call]]] = {
    "floor": floor,
    "ours_view": ours_view,
    "ours_copy": ours_copy,
    "appose": appose,
    "npy_live": npy_live,
    "shm_per_call": shm_per_call,
    "process_numpy": process_numpy,
}
