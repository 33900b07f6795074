"""Admission rules: files of the administrator's that accept, change or refuse each campaign. See docs/admission.md."""

from __future__ import annotations

from cigri.admission.rules import Broken, Context, Refuse, Rules

__all__ = ["Broken", "Context", "Refuse", "Rules"]
