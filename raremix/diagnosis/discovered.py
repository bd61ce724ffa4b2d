"""A list of attributes that a language model named: the file that keeps it, and what no list may hold."""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from raremix.data.findings import DEVICES
from raremix.diagnosis.attributes import FACTS
from raremix.runtime.errors import UserError
from raremix.runtime.files import replacing

LONGEST = 40  # characters of a name or a phrase: a caption has to hold it
LONGEST_REASON = 300
TOLD = ("male", "ap", *FACTS, *DEVICES)  # what headers can tell of a real radiograph

_NAME = re.compile(r"[a-z0-9_]+")
_PHRASE = re.compile(r"[a-z0-9]+(?:[ '/-][a-z0-9]+)*")


class Entry(BaseModel):
    """One attribute: its name, the words for it in a caption (lower case), why a classifier may react to it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    attribute: str
    phrase: str
    reason: str

    @field_validator("phrase")
    @classmethod
    def _plain(cls, phrase: str) -> str:
        return plain(phrase)


class Answer(BaseModel):
    """What a language model is to answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    attributes: list[Entry]


class Discovered(Answer):
    """An answer, the question it belongs to, and where it comes from."""

    domain: str
    task: str
    count: int
    prompt: str
    model: str
    date: date
    source: str


def plain(phrase: str) -> str:
    """``phrase`` as captions spell it: lower case, one space between words."""
    return " ".join(phrase.lower().split())


def words(text: str) -> set[str]:
    """The words of a phrase or of a name."""
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def check(entries: Sequence[Entry], count: int, findings: Sequence[str], where: str) -> None:
    """Refuse a list that is too short or too long for ``count``, says a thing twice or names one of ``findings``.

    Raises:
        UserError: names the entry of ``where``, counted from one, and what is wrong with it.
    """
    if not 2 <= len(entries) <= count:
        raise UserError(f"{where}: holds {len(entries)} attributes; it must be 2 to {count}")
    for number, entry in enumerate(entries, 1):
        here = f"{where}, attribute {number}"
        if not _NAME.fullmatch(entry.attribute) or not _sized(entry.attribute):
            raise UserError(
                f"{here}: '{short(entry.attribute)}' is no name of a-z, 0-9 and _ up to {LONGEST} characters"
            )
        _check_label(entry.attribute, findings, here)
        check_phrase(entry.phrase, findings, here)
        if not entry.reason.strip() or not entry.reason.isprintable() or len(entry.reason) > LONGEST_REASON:
            raise UserError(f"{here}: its reason must be one line of 1 to {LONGEST_REASON} characters")
        for earlier, other in enumerate(entries[: number - 1], 1):
            if entry.attribute == other.attribute or entry.phrase == other.phrase:
                raise UserError(f"{here}: '{entry.attribute}' ('{entry.phrase}') is attribute {earlier} again")


def check_phrase(phrase: str, findings: Sequence[str], where: str) -> None:
    """Refuse what can not be added to a caption, or names one of ``findings``.

    Raises:
        UserError: says which, of ``where``.
    """
    if not _PHRASE.fullmatch(phrase) or not _sized(phrase):
        raise UserError(
            f"{where}: '{short(phrase)}' is no phrase of a-z, 0-9, space, hyphen, slash and apostrophe up to {LONGEST} "
            "characters, a letter among them"
        )
    _check_label(phrase, findings, where)


def _check_label(text: str, findings: Sequence[str], where: str) -> None:
    for finding in findings:
        if words(finding) <= words(text):
            raise UserError(f"{where}: '{text}' names the finding '{finding}'; an attribute must not be the label")


def _sized(text: str) -> bool:
    return len(text) <= LONGEST and any(letter.isalpha() for letter in text)


def read(path: Path, findings: Sequence[str]) -> Discovered:
    """The list that ``path`` keeps.

    Raises:
        UserError: there is none, or it is not as ``check`` wants it; says where, and how to ask again.
    """
    again = "ask again: python -m stages.discover params.yaml"
    if not path.is_file():
        raise UserError(f"{path}: there is no list of attributes; {again}")
    try:
        held = Discovered.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path}: {first(error)}; mend it or {again}") from None
    check(held.attributes, held.count, findings, str(path))
    return held


def first(error: ValidationError) -> str:
    """The first fault that ``error`` found, in one line."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, fault["loc"]))
    return short(f"{place}: {fault['msg']}" if place else fault["msg"])


def short(text: str) -> str:
    """What of another's ``text`` goes into one line: its beginning, without control characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line[:160]


def write(path: Path, found: Discovered) -> None:
    """Keep ``found`` in ``path``, its attributes last; what was there stays until the new list is whole."""
    head = found.model_dump_json(exclude={"attributes"}, indent=2).removesuffix("\n}")
    rows = ",\n".join(f"    {entry.model_dump_json()}" for entry in found.attributes)
    with replacing(path) as temporary:
        temporary.write_text(f'{head},\n  "attributes": [\n{rows}\n  ]\n}}\n', encoding="utf-8")
