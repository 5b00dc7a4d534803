"""Sweeps after erasures: one stage, ordered by the erasure itself."""

from __future__ import annotations

from actors.stages import stage_actor
from pipelines.erasure_proof import KIND, QUEUE, STAGE, prove

prove_erasure = stage_actor(KIND, STAGE, prove, queue=QUEUE)
