"""Libraries that take long to import, loaded when they are first used.

    from config.deferred import np, redis

A type checker sees the libraries themselves. When the program runs, a name stands for its library and becomes it at
the first use, so commands, probes and tests that never calculate do not wait for NumPy. For use inside of functions,
and in annotations that are not evaluated; what is used while a module is imported had better be imported.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Deferred(ModuleType):
    """A module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        # The import lock makes this safe for threads: whoever comes second finds the module, and does the same again.
        module = importlib.import_module(self.__name__)
        self.__dict__.update(vars(module))
        # From now on it is as fast as any module: nobody passes here again.
        self.__class__ = ModuleType  # type: ignore[assignment]
        return getattr(module, name)


if TYPE_CHECKING:
    import numpy as np
    import redis
    import yaml
    from cryptography.hazmat.primitives.asymmetric import ed25519
else:
    np = Deferred("numpy")
    redis = Deferred("redis")
    yaml = Deferred("yaml")
    ed25519 = Deferred("cryptography.hazmat.primitives.asymmetric.ed25519")

__all__ = ["ed25519", "np", "redis", "yaml"]
