"""Who uses or changes a module: a program, for people."""

from __future__ import annotations

import time
from typing import Any

User = dict[str, Any]


def user_text(user: User) -> str:
    """Say who uses something: ``nis_ar.exe (PID 4242, since 10:42)``."""
    parts = [f"PID {user['pid']}"] if user.get("pid") else []
    parts += [f"since {_clock(user['since'])}"] if user.get("since") else []
    parts += [f"user {user['user']}"] if user.get("user") else []
    program = str(user.get("program") or "a program")
    return f"{program} ({', '.join(parts)})" if parts else program


def _clock(seconds: float) -> str:
    """Return a time of today as hours and minutes, an earlier one with its date."""
    then = time.localtime(seconds)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", then)
