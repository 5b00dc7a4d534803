"""The label stage of a compilation: drafts get the labels that their contents seem to deserve, as suggestions."""

from __future__ import annotations

import msgspec
import structlog

from config.settings import Settings
from pipelines.drafting import Drafts
from pipelines.labels.detectors import suggest_labels

log = structlog.get_logger()


def label_drafts(drafts: Drafts, settings: Settings) -> Drafts:
    """The drafts with suggested labels, if `STATEWAVE_AUTO_LABELING_ENABLED`. One that fails goes without any."""
    if not settings.auto_labeling_enabled:
        return drafts
    labelled = []
    for memory_id, draft in zip(drafts.ids, drafts.memories, strict=True):
        try:
            suggested = suggest_labels(draft.content)
        except Exception as ex:
            log.error("auto_labeling_failed", memory_id=str(memory_id), error=type(ex).__name__)
            suggested = []
        labelled.append(msgspec.structs.replace(draft, suggested_labels=suggested))
    return msgspec.structs.replace(drafts, memories=labelled)
