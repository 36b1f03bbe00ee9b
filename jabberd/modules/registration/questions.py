"""XEP-0158: a question that newcomers answer before they get an account; a text, never a picture."""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import Secret, Settings, StanzaError
from jabberd.xmpp.forms import Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ANSWER", "CHALLENGE", "Question", "Questions"]

#: The fields of a challenge (§9.2): its id, and the answer to a question.
CHALLENGE: Final = Field("challenge", "hidden")
ANSWER: Final = Field("qa")
_SID: Final = "sid"
_MOST_SPENT: Final = 10_000
_LANGUAGE: Final = r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"  # RFC 5646 §2.1, the form alone


class Question(Settings):
    """A question in one language.

    :ivar lang: its language, as ``xml:lang`` has it.
    :ivar ask: what is asked.
    :ivar answers: what is right; capitals, and spaces around, make no difference.
    """

    lang: Annotated[str, Meta(pattern=_LANGUAGE)] = "en"
    ask: Annotated[str, Meta(min_length=1)]
    answers: Annotated[tuple[Secret, ...], Meta(min_length=1)]


class Questions:
    """Asks newcomers, each time one of some questions.

    A challenge says itself which question it is and until when, under a seal that nobody else can make:
    however many are asked for and never answered, nothing is kept of them.  Only those that were answered
    are remembered, until their time is up.

    :param lifetime: seconds that there are for an answer.
    """

    def __init__(self, questions: Sequence[Question], lifetime: float) -> None:
        self._questions = questions
        self._lifetime = lifetime
        self._key = secrets.token_bytes(32)
        self._spent: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return bool(self._questions)

    def are(self, questions: Sequence[Question], lifetime: float) -> bool:
        """Whether they are these."""
        return (self._questions, self._lifetime) == (questions, lifetime)

    def put(self, lang: str, id: str, now: float) -> tuple[Field, ...]:
        """The fields of a new challenge (§4), in that language if there is one in it, else in the first one.

        :param id: of the iq that asks for it.
        """
        place = secrets.choice(self._fitting(lang))
        challenge = self._sealed(f"{int(now + self._lifetime)}.{place}.{secrets.token_hex(8)}")
        return (
            Field(CHALLENGE.var, CHALLENGE.type, values=(challenge,)),
            Field(_SID, "hidden", values=(id,)),
            Field(ANSWER.var, ANSWER.type, self._questions[place].ask, required=True),
        )

    @contextmanager
    def answered(self, challenge: str, answer: str, now: float) -> Iterator[None]:
        """Spend a challenge; where the block raises a `StanzaError` it may be answered once more.

        :raises StanzaError: ``not-acceptable``: the answer is missing, or wrong, which spends it too;
            ``service-unavailable``: there is no such challenge, it was spent, or its time is up (§3.1.4).
        """
        if not challenge:
            raise StanzaError("not-acceptable", "answer the question in the form", type="cancel")
        until, question = self._opened(challenge, now)
        self._spend(challenge, until, now)
        if not any(hmac.compare_digest(_bare(each), _bare(answer)) for each in question.answers):
            raise StanzaError(
                "not-acceptable", "that is not the answer; ask for another question", type="cancel"
            )
        try:
            yield
        except StanzaError:
            self._spent.pop(challenge, None)
            raise

    def _fitting(self, lang: str) -> list[int]:
        """The places of the questions in that language, as RFC 4647 §3.4 looks it up."""
        tags = [each.lang.lower() for each in self._questions]
        wanted = lang.lower()
        while wanted:
            if found := [place for place, tag in enumerate(tags) if tag == wanted]:
                return found
            wanted = wanted.rpartition("-")[0]
        return [place for place, tag in enumerate(tags) if tag == tags[0]]

    def _sealed(self, text: str) -> str:
        return f"{text}.{hmac.digest(self._key, text.encode(), 'sha256').hex()[:32]}"

    def _opened(self, challenge: str, now: float) -> tuple[int, Question]:
        """Until when it holds, and what was asked."""
        text = challenge.rpartition(".")[0]
        if hmac.compare_digest(self._sealed(text).encode(), challenge.encode()):
            until, place, _ = text.split(".")
            if now < int(until) and challenge not in self._spent:
                return int(until), self._questions[int(place)]
        raise StanzaError("service-unavailable", "that question is over; ask for another one")

    def _spend(self, challenge: str, until: float, now: float) -> None:
        for each in [each for each, end in self._spent.items() if end <= now]:
            del self._spent[each]
        if len(self._spent) >= _MOST_SPENT:
            raise StanzaError("resource-constraint", "too many newcomers; try again later")
        self._spent[challenge] = until


def _bare(answer: str) -> bytes:
    """What counts of an answer."""
    return " ".join(unicodedata.normalize("NFKC", answer).casefold().split()).encode()
