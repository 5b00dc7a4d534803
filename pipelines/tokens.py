"""placeholder"""
from __future__ import annotations
def count_tokens(text: str) -> int:
    return (len(text) + 3) // 4
