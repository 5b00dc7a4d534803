"""Nothing of a long episode is left out, and no window is larger than it may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.compilation import Utterance
from pipelines.llm.windows import LEAST_CHARS, Window, batches_of, halves, windows_by_message, windows_of

SAID = st.lists(st.text(alphabet=st.sampled_from("ab .\n\0ü"), max_size=900), max_size=12)


def utterances(texts: list[str]) -> list[Utterance]:
    return [Utterance(None, "user", text) for text in texts]


def numbered(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


@given(texts=SAID, chars=st.integers(80, 500), overlap=st.integers(0, 40))
def test_every_word_is_in_a_window_and_no_window_is_too_large(texts: list[str], chars: int, overlap: int) -> None:
    windows = windows_of(3, utterances(texts), chars=chars, overlap=overlap)
    assert all(window.chars <= chars and window.episode == 3 for window in windows)
    assert all("\0" not in line.text for window in windows for line in window.lines)
    for turn, text in enumerate(texts):
        shown = "".join(line.text for window in windows for line in window.lines if line.turn == turn)
        assert len(shown.split("a")) >= len(text.split("a"))
        assert shown.count("b") >= text.count("b")


def test_a_word_at_a_cut_is_whole_in_one_of_the_two_windows() -> None:
    windows = windows_of(0, utterances([numbered(2000)]), chars=600, overlap=60)
    shown = {word for window in windows for line in window.lines for word in line.text.split()}
    assert {f"w{number}" for number in range(2000)} <= shown
    assert len(windows) > 10


def test_a_window_begins_with_the_end_of_the_former_one() -> None:
    first, second, *_ = windows_of(0, utterances([numbered(2000)]), chars=600, overlap=60)
    assert first.lines[-1].text[-60:] == second.lines[0].text


def test_windows_of_messages_share_the_last_ones() -> None:
    said = utterances([f"message {number}" for number in range(10)])
    windows = windows_by_message(0, said, messages=4, overlap=1)
    assert [[line.turn for line in window.lines] for window in windows] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


@given(sizes=st.lists(st.integers(1, 400), max_size=20))
def test_batches_hold_all_windows_in_order(sizes: list[int]) -> None:
    windows = [Window(n, windows_of(n, utterances(["x" * size]), chars=500, overlap=0)[0].lines) for n, size in
               enumerate(sizes)]  # fmt: skip
    batches = batches_of(windows, chars=500)
    assert [window for batch in batches for window in batch] == windows
    assert all(sum(window.chars for window in batch) <= 500 for batch in batches)


@given(texts=SAID)
def test_halving_loses_nothing_and_ends(texts: list[str]) -> None:
    pending = [list(windows_of(0, utterances(texts), chars=4000, overlap=0))]
    pending = [batch for batch in pending if batch]
    whole = "".join(line.text for batch in pending for window in batch for line in window.lines)
    smallest = []
    while pending:
        batch = pending.pop(0)
        parts = halves(batch)
        if parts is None:
            smallest.append(batch)
        else:
            pending = [*parts, *pending]
    assert "".join(line.text for batch in smallest for window in batch for line in window.lines) == whole
    assert all(batch[0].chars < 2 * LEAST_CHARS for batch in smallest)
