"""Sensitivity labels: detecting what may deserve one, and changing which ones a memory carries."""
