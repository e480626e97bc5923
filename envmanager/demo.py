"""The main job end to end: install, segment, publish, run the node script as NIS does, compare."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envmanager import images, nodes, segmentation, workers
from envmanager.data import files
from envmanager.environments.lifecycle import Environments
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, Report, Stage
from envmanager.machine import nodehost
from envmanager.modules import catalog
from envmanager.uv.program import Uv
from ga3_nodes.standin.nis import StandinError
from ga3_nodes.standin.out_of_process import OutOfProcessNis

MODULE = "classic"
# The sample of immunohistochemistry that scikit-image ships: nuclei stained with hematoxylin.
SAMPLE = "skimage/data/ihc.png"
SAMPLE_PARAMETERS: dict[str, Any] = {
    "channel": "hematoxylin",
    "smoothing": 2.0,
    "background": 25.0,
    "min_diameter": 8.0,
}


@dataclass(frozen=True)
class Demonstrated:
    """What the demo found; times in seconds as the caller waits for them."""

    image: Path
    objects: int
    first_call_s: float
    warm_call_s: float
    worker_was_running: bool
    node_call_s: float
    node_python: str
    node_equals_cli: bool
    labels: Path
    overlay: Path
    node_script: Path
    config: Path
    environment: Path
    install_s: float
    installed_now: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


def run(
    environments: Environments,
    *,
    image_path: Path | None,
    report: Report,
    cancel: CancelToken | None = None,
    nis: int = 6,
) -> Demonstrated:
    """Run the demo on a user's image, or on the sample of the module's environment.

    Raises
    ------
    GA3EnvError
        Some step failed; what was installed before stays.
    """
    data = environments.data
    user_image = images.read(image_path) if image_path else None  # before anything is installed
    installed = environments.install(MODULE, report=report, cancel=cancel)
    image = _as_nis_has_it(user_image or images.read(sample(installed.folder)))
    parameters = {} if user_image else SAMPLE_PARAMETERS
    folder = data.root / "demo"

    report(Stage("segment", f"Segmenting {image.path.name}"))
    was_running = bool(workers.live(data, MODULE))
    first, first_s = _timed(lambda: segmentation.segment(MODULE, image, parameters))
    labels_path = folder / f"{image.path.stem}_labels.tif"
    images.write_labels(labels_path, first.labels)
    warm, warm_s = _timed(lambda: segmentation.segment(MODULE, image, parameters))

    report(Stage("node", "Running the GA3 node script as NIS does"))
    script = nodes.script(catalog.find(MODULE, data), parameters, nis=nis)
    script_path = folder / f"{MODULE}_node_nis{nis}.py"
    files.write_text(script_path, script)
    host = nodehost.prepare(data, Uv(data, environments.settings, cancel))
    mask, node_s = _run_node(script, host, image, nis)
    same = all(np.array_equal(first.labels, other) for other in (mask, warm.labels))
    overlay = folder / f"{image.path.stem}_overlay.png"
    images.write_overlay(overlay, image, first.labels)
    return Demonstrated(
        image=image.path,
        objects=first.objects,
        first_call_s=first_s,
        warm_call_s=warm_s,
        worker_was_running=was_running,
        node_call_s=node_s,
        node_python=host.version,
        node_equals_cli=same,
        labels=labels_path,
        overlay=overlay,
        node_script=script_path,
        config=data.config,
        environment=installed.folder,
        install_s=installed.seconds,
        installed_now=installed.new,
    )


def sample(environment: Path) -> Path:
    """Return the sample image in a published environment of the module.

    Raises
    ------
    GA3EnvError
        It is missing: the environment is damaged.
    """
    for packages in (environment / ".venv").rglob("site-packages"):
        if (packages / SAMPLE).is_file():
            return packages / SAMPLE
    raise GA3EnvError(
        f"The sample image {SAMPLE} is missing in {environment}.",
        f"Remove {MODULE} and run the demo again.",
    )


def _as_nis_has_it(image: images.Image) -> images.Image:
    """Return the image in a type that a channel of NIS can have: uint8, uint16 or float32."""
    if image.pixels.dtype.newbyteorder("=") in (np.uint8, np.uint16, np.float32):
        return replace(image, pixels=image.pixels.astype(image.pixels.dtype.newbyteorder("=")))
    dtype = np.uint8 if image.pixels.dtype == bool else np.float32
    return replace(image, pixels=image.pixels.astype(dtype))


def _run_node(
    script: str, host: nodehost.NodeHost, image: images.Image, nis: int
) -> tuple[np.ndarray, float]:
    """Return the node's mask, (y, x) or (z, y, x), and the seconds of its second call."""
    frame = image.pixels
    if "z" not in image.axes:
        frame = frame[np.newaxis]
    if "c" not in image.axes:
        frame = frame[..., np.newaxis]
    try:
        with OutOfProcessNis(script, nis, python=host.python, site=host.site) as process:
            process.run([frame])
            (mask,), seconds = _timed(lambda: process.run([frame]))
    except StandinError as error:
        raise GA3EnvError(
            "The GA3 node script failed in the stand-in for NIS.",
            "Look at the details.",
            code="node_failed",
            details={"log_tail": str(error)},
        ) from error
    mask = np.asarray(mask)[..., 0]
    return (mask if "z" in image.axes else mask[0]), seconds


def _timed(work: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, round(time.perf_counter() - started, 4)
