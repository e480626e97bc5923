"""The app's drawing as Windows and NSIS want it: an icon file, and a picture for the installer."""

from __future__ import annotations

import struct
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QRectF
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

SIZES = (16, 20, 24, 32, 40, 48, 64, 256)  # px
_BANNER, _GROUND = (328, 628), "#e8eef6"  # px: twice what NSIS names, for dense screens
_LARGEST = 256  # is written as 0
_HEADER, _ENTRY = struct.Struct("<HHH"), struct.Struct("<BBBBHHII")


def write_icon(drawing: Path, icon: Path) -> None:
    """Render an SVG in all sizes that Windows asks for, as PNGs in one ``.ico``."""
    renderer = QSvgRenderer(str(drawing))
    pictures = [_png(renderer, size) for size in SIZES]
    offset = _HEADER.size + len(SIZES) * _ENTRY.size
    entries = []
    for size, picture in zip(SIZES, pictures, strict=True):
        edge = size % _LARGEST
        entries.append(_ENTRY.pack(edge, edge, 0, 0, 1, 32, len(picture), offset))
        offset += len(picture)
    icon.write_bytes(_HEADER.pack(0, 1, len(SIZES)) + b"".join(entries + pictures))


def write_banner(drawing: Path, banner: Path) -> None:
    """Render an SVG onto a plain ground: the left side of an installer's last page."""
    width, height = _BANNER
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(QColor(_GROUND))
    edge = width / 2
    _draw(QSvgRenderer(str(drawing)), image, QRectF(edge / 2, edge / 2, edge, edge))
    image.save(str(banner), "BMP")  # type: ignore[call-overload]


def _draw(renderer: QSvgRenderer, image: QImage, place: QRectF) -> None:
    painter = QPainter(image)
    renderer.render(painter, place)
    painter.end()


def _png(renderer: QSvgRenderer, size: int) -> bytes:
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(0)
    _draw(renderer, image, QRectF(0, 0, size, size))
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]  # its stub wants bytes for the format
    return bytes(buffer.data().data())
