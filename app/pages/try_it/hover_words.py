"""What lies under the mouse, in words."""

from __future__ import annotations

from collections.abc import Sequence

from envmanager.reading.metadata import PixelSize


def image(shape: tuple[int, int], channels: int, dtype: str, um: float | None) -> str:
    """Say what an image is: ``1,024 × 1,024 px, 2 channels, uint16, 0.325 µm per pixel``."""
    parts = [f"{shape[1]:,} × {shape[0]:,} px"]
    if channels > 1:
        parts.append(f"{channels} channels")
    parts.append(dtype)
    parts.append(f"{um:.4g} µm per pixel" if um else "not calibrated")
    return ", ".join(parts)


def pixel(y: int, x: int, names: Sequence[str], values: Sequence[float]) -> str:
    """Say a place and its intensities."""
    found = [f"{name} {_number(value)}" for name, value in zip(names, values, strict=False)]
    if len(values) == 1:
        found = [_number(values[0])]
    return "    ".join((f"x {x}  y {y}", "  ".join(found)))


def labelled(label: int, size: int | None, pixel_size: PixelSize | None, *, volume: bool) -> str:
    """Say an object's number and its area, or of a z-stack its volume."""
    if size is None:
        return f"Object {label}"
    text = f"Object {label}: {size:,} {'voxels' if volume else 'px'}"
    if pixel_size and volume and pixel_size.volume:
        return f"{text}, {size * pixel_size.volume:,.1f} µm³"
    if pixel_size and not volume:
        return f"{text}, {size * pixel_size.area:,.1f} µm²"
    return text


def _number(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(int(value))
