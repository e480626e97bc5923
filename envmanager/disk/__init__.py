"""How much disk space everything takes and an install will take; cleaning uv's cache."""

from envmanager.disk.cleaning import clean_cache
from envmanager.disk.counting import Usage, scan
from envmanager.disk.figures import PARTS, CacheUsage, ModuleUsage, Overview
from envmanager.disk.kept import cached
from envmanager.disk.of_all import OfAll, of_all
from envmanager.disk.overview import overview
from envmanager.disk.prediction import Prediction, predict
from envmanager.disk.vendor import VendorFolder, vendor
from envmanager.disk.volumes import Volume, volumes

__all__ = [
    "PARTS",
    "CacheUsage",
    "ModuleUsage",
    "OfAll",
    "Overview",
    "Prediction",
    "Usage",
    "VendorFolder",
    "Volume",
    "cached",
    "clean_cache",
    "of_all",
    "overview",
    "predict",
    "scan",
    "vendor",
    "volumes",
]
