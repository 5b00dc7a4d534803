"""Other languages than English are told by their stop words, stemmed by their own rules, and come as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.clock import utcnow
from pipelines import terms
from pipelines.languages import FOLDER, LanguageFileBroken, read_language
from pipelines.query import parse_task
from pipelines.terms import language_of, query_terms, term_list, use_languages

SAYINGS = {
    "de": ("Ich habe gestern die alten Häuser in der Stadt gesehen", "Welche Häuser hat sie gesehen?"),
    "fr": ("Nous avons acheté les chevaux pour la ferme de ma sœur", "Qui a acheté les chevaux pour la ferme?"),
    "es": ("Mi hermana compró las casas que están en la montaña", "¿Qué casas compró la hermana?"),
    "it": ("Ho comprato le biciclette per i miei figli con la nonna", "Per chi ho comprato la bicicletta?"),
    "pt": ("Eu comprei os livros para as minhas irmãs com o meu pai", "Para quem comprei o livro?"),
    "nl": ("Ik heb gisteren de huizen van mijn zus voor het eerst gezien", "Welke huizen heb ik gezien?"),
    "ru": ("Я вчера купила книги для моей сестры и для мамы", "Для кого я купила книгу?"),
}


@pytest.mark.parametrize("code", SAYINGS)
def test_a_question_finds_what_was_said_in_its_language(code: str) -> None:
    said, asked = SAYINGS[code]
    language = language_of(said)
    assert language is not None and language.code == code
    assert set(term_list(said)) & set(query_terms(asked))


def test_endings_are_those_of_the_language() -> None:
    assert set(term_list("Das sind die alten Katzen und die Hunde")) >= set(
        term_list("die alte Katze und der Hund ist")
    )


def test_stop_words_of_the_language_are_no_terms() -> None:
    assert len(term_list("Ich habe mit ihm und mit ihr eine Katze")) == 1


@pytest.mark.parametrize(
    "text",
    ["I said die hard was a great film", "She was in Paris", "Wow!", "Mi casa", "INV-2043", "no", "so was I", ""],
)
def test_a_few_foreign_words_leave_english_english(text: str) -> None:
    assert language_of(text) is None


def test_what_was_stored_as_english_is_found_by_a_question_in_its_language() -> None:
    before = terms._terms_of(terms._prepare("Häuser Stadt"), None)
    assert set(before) & set(query_terms("Wo sind die Häuser in der Stadt?"))


def test_questions_for_a_time_are_known_in_each_language() -> None:
    for task in ("Wann war sie in der Stadt?", "Quand est-elle partie?", "Когда она была в городе?"):
        assert parse_task(task, speakers=[], now=utcnow()).asks_when
    assert not parse_task("Wo war sie in der Stadt?", speakers=[], now=utcnow()).asks_when


def test_scripts_without_spaces_give_pairs_of_characters() -> None:
    assert set(term_list("我昨天买了自行车")) & set(query_terms("谁的自行车"))


@given(st.text(max_size=200))
def test_any_text_has_terms_and_a_language_or_none(text: str) -> None:
    query_terms(text)
    term_list(text)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_the_bundled_files_can_be_read(path: Path) -> None:
    language = read_language(path, terms._prepare)
    assert len(language.stop_words) > 60 and language.asks_when and language.time_expression


def test_an_operator_adds_a_language(tmp_path: Path) -> None:
    (tmp_path / "sv.toml").write_text('name = "Swedish"\nstemmer = "swedish"\nstop_words = "jag har och den det att"\n')
    try:
        use_languages(str(tmp_path))
        language = language_of("jag har bilen och den andra")
        assert language is not None and language.name == "Swedish"
    finally:
        use_languages(None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('name = "X"\nstemmer = \n', "line 2"),
        ('name = "X"\nstemmer = "klingon"\nstop_words = "a"\n', "klingon"),
        ('name = "X"\nstemmer = "swedish"\n', "stop_words"),
        ('name = "X"\nstemmer = "swedish"\nstop_words = "a"\nasks_when = ["("]\n', "asks_when"),
        ('name = "X"\nstemmer = "swedish"\nstop_words = "a"\nasks = []\n', "asks"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "xx.toml").write_text(content)
    with pytest.raises(LanguageFileBroken, match=told) as caught:
        use_languages(str(tmp_path))
    assert "xx.toml" in caught.value.message
