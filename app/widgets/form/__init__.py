"""A form made from the declaration of a module's function."""

from app.widgets.form.form import Form

__all__ = ["Form"]
