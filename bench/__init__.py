"""Benchmarks. Each drives a running server over HTTP only and prints what it measured."""
