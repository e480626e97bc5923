"""The page on which a module, or a whole pipeline, runs over a folder of images."""

from app.pages.batch.page import BatchPage

__all__ = ["BatchPage"]
