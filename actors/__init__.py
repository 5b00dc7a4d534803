"""Dramatiq: the broker, the actors and their schedule. Rules live in `pipelines`; an actor claims, calls and decides
about another attempt."""
