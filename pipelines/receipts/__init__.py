"""Receipts: proof of what was delivered, and delivering it again."""
