"""`python -m bench` is the load benchmark."""

from __future__ import annotations

import sys

from bench.load import main

sys.exit(main())
