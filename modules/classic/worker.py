"""Segmentation without a neural network: background, threshold, watershed, clean-up."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from skimage.color import rgb2hed
from skimage.filters import threshold_li, threshold_otsu, threshold_triangle
from skimage.measure import block_reduce
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import clear_border, relabel_sequential, watershed
from skimage.transform import resize

RANK = {"yx": 2, "yxc": 3, "zyx": 3, "zyxc": 4}
STAINS = ("hematoxylin", "eosin", "dab")
METHODS = ("automatic", "otsu", "li", "triangle", "local")
NOISE_FLOOR = 3.0
NOISE_PEAK = 6.0


def segment(
    image: np.ndarray,
    *,
    axes: str = "",
    channel: str = "intensity",
    objects: str = "bright",
    smoothing: float = 1.5,
    background: float = 75.0,
    threshold: str = "automatic",
    threshold_factor: float = 1.0,
    split: float = 0.8,
    min_diameter: float = 5.0,
    max_diameter: float = 0.0,
    fill_holes: bool = True,
    exclude_border: bool = False,
    z_spacing: float = 1.0,
) -> np.ndarray:
    axes = _resolve_axes(image, axes)
    gray = _select_channel(image, axes, channel)
    if objects == "dark":
        gray = gray.max() - gray
    sampling = (z_spacing, 1.0, 1.0)[-gray.ndim:]
    smooth = ndi.gaussian_filter(gray, [smoothing / s for s in sampling])
    signal = smooth - _background(smooth, background)
    level, noise = _background_level(signal)
    signal -= level
    if noise == 0:
        return np.zeros(gray.shape, np.int32)
    if threshold == "local":
        cut = np.maximum(ndi.gaussian_filter(signal, 25), NOISE_FLOOR * noise) * threshold_factor
    else:
        cut = _global_threshold(signal, noise, threshold) * threshold_factor
    mask = signal > cut
    alpha = 0.5; rounds = 2; R=2.5
    factor = threshold_factor if threshold == "automatic" else 0.0
    rest = mask; out = np.zeros(mask.shape, np.int32)
    for _ in range(1 + 0):
        m = rest
        for _ in range(rounds):
            if fill_holes: m = _fill_small(m, 2*min_diameter)
            labels = _split(m, split, sampling, signal, alpha)
            labels = _at_half_height(labels, signal, noise, factor)
            m = labels > 0
        out = np.where(labels > 0, labels + out.max(), out)
        rest = mask & (out == 0)
        rest = (ndi.distance_transform_edt(rest) > R)
        rest = (ndi.distance_transform_edt(~rest) <= R) & mask & (out==0)
    labels = _fill_each(out) if fill_holes else out
    return _clean(labels, min_diameter, max_diameter, exclude_border, sampling)


def _resolve_axes(image, axes):
    if not axes:
        axes = {2: "yx", 3: "yxc" if image.shape[-1] in (3, 4) else "zyx", 4: "zyxc"}[image.ndim]
    return axes


def _select_channel(image, axes, channel):
    image = image.astype(np.float32)
    if axes[-1] != "c":
        return image
    if channel == "intensity":
        return image.mean(axis=-1)
    if channel in STAINS:
        return rgb2hed(image[..., :3] / 255)[..., STAINS.index(channel)].astype(np.float32)
    return image[..., int(channel) - 1]


def _background(image, radius):
    if radius == 0:
        return np.float32(image.min())
    f = 4
    block = (1,) * (image.ndim - 2) + (f, f)
    small = block_reduce(image, block, np.mean) if min(image.shape[-2:]) >= 2 * f else image
    k = 2 * round(radius / f) + 1
    small = ndi.grey_opening(small, (1,) * (image.ndim - 2) + (k, k), mode="reflect")
    small = ndi.gaussian_filter(small, (0,) * (image.ndim - 2) + (radius / f / 2,) * 2)
    return resize(small, image.shape, order=1, mode="edge", preserve_range=True, anti_aliasing=False)


def _background_level(signal):
    """Mode and spread of the background, by clipping from the dark side."""
    v = np.sort(signal.ravel()[:: max(1, signal.size // 200_000)])
    if v[-1] == v[0]:
        return float(v[0]), 0.0
    low = np.log1p((v - v[0]) / max(np.median(v) - v[0], 1e-9))
    cut = v[low <= threshold_otsu(low)][-1]
    for _ in range(20):
        inside = v[: np.searchsorted(v, cut, "right")]
        level, p16 = np.percentile(inside, [50, 16])
        noise = level - p16
        new = level + 3 * noise
        if abs(new - cut) < 1e-3 * noise:
            break
        cut = new
    return float(level), float(noise)


def _global_threshold(signal, noise, method):
    if method == "automatic":
        v = np.arcsinh(signal / (NOISE_FLOOR * noise))
        return max(np.sinh(threshold_otsu(v)), 1) * NOISE_FLOOR * noise
    f = {"otsu": threshold_otsu, "li": threshold_li, "triangle": threshold_triangle}[method]
    return max(f(signal), NOISE_FLOOR * noise)


def _fill(mask):
    if mask.ndim == 2:
        return ndi.binary_fill_holes(mask)
    return np.stack([ndi.binary_fill_holes(m) for m in mask])


def _fill_small(mask, d):
    lab, n = ndi.label(~mask)
    size = np.bincount(lab.ravel())
    return mask | (size < np.pi/4*d*d)[lab]

def _fill_each(labels):
    lab, n = ndi.label(labels == 0)
    hi = ndi.grey_dilation(labels, 3*np.ones(labels.ndim,int))
    big = labels.max()+1
    lo = ndi.grey_erosion(np.where(labels==0, big, labels), 3*np.ones(labels.ndim,int))
    i = np.arange(1, n+1)
    a = ndi.maximum(hi*(lab>0), lab, i); b = ndi.minimum(lo, lab, i)
    edge = np.zeros(n+1, bool)
    for ax in range(labels.ndim):
        for e in (0,-1): edge[np.unique(np.take(lab, e, ax))] = True
    fillv = np.zeros(n+1, np.int32); fillv[1:] = np.where((a==b), a, 0); fillv[edge]=0
    return np.where(lab>0, fillv[lab], labels)

def _split(mask, ratio, sampling, signal, alpha):
    if ratio == 0:
        return ndi.label(mask)[0]
    distance = ndi.distance_transform_edt(mask, sampling)
    distance = ndi.gaussian_filter(distance, 1.0)
    log = np.where(mask, np.log(np.maximum(distance, 1e-3)), np.log(1e-3)).astype(np.float32)
    if alpha: log += np.where(mask, alpha*np.log(np.maximum(signal, 1e-6)), np.log(1e-3)).astype(np.float32)
    tops = reconstruction(log + np.log(ratio), log)
    markers = ndi.label(local_maxima(tops) & mask, np.ones((3,) * mask.ndim))[0]
    return watershed(-log, markers, mask=mask)


def _at_half_height(labels, signal, noise, factor):
    n = labels.max() + 1
    flat = labels.ravel()
    mean = np.bincount(flat, signal.ravel(), n) / np.maximum(np.bincount(flat, minlength=n), 1)
    upper = signal > mean[labels]
    count = np.maximum(np.bincount(flat, upper.ravel(), n), 1)
    height = np.bincount(flat, (signal * upper).ravel(), n) / count
    keep = (height > NOISE_PEAK * noise)[labels] & (signal > 0.5 * factor * height[labels])
    return np.where(keep, labels, 0)


def _clean(labels, lo, hi, exclude_border, sampling):
    if exclude_border:
        labels = clear_border(labels)
    size = np.bincount(labels.ravel()).astype(float)
    size[0] = 0
    d = 2 * np.sqrt(size / np.pi) if labels.ndim == 2 else 2 * np.cbrt(size * sampling[0] * 3 / (4 * np.pi))
    keep = (size > 0) & (d >= lo) & ((d <= hi) | (hi == 0))
    return relabel_sequential(np.where(keep[labels], labels, 0))[0].astype(np.int32)
