"""A subject's sessions as one caller may know them."""

from __future__ import annotations

import msgspec

from pipelines.policy.visibility import Visibility
from pipelines.support.facts import SubjectFacts


def visible_facts(facts: SubjectFacts, visibility: Visibility) -> SubjectFacts:
    """The facts without what was said in withheld episodes: how their sessions ended, how many messages they have, and
    which sessions they resemble. That the sessions exist, when they began and how they stand are figures, and stay."""
    if not visibility.hides_anything:
        return facts
    sessions = [
        session
        if visibility.shows_session_text(session.session_id)
        else msgspec.structs.replace(session, summary=None, episodes=min(session.episodes, 1))
        for session in facts.sessions
    ]
    repeats = [
        repeat
        for repeat in facts.repeats
        if visibility.shows_session_text(repeat.session_id) and visibility.shows_session_text(repeat.earlier_session_id)
    ]
    return msgspec.structs.replace(facts, sessions=sessions, repeats=repeats)
