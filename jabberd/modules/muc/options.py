"""What an owner can tell a room (XEP-0045 §10.2): kept as values, shown and filled in as a form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from jabberd.api import Element, StanzaError
from jabberd.modules.muc.names import CONFIG
from jabberd.xmpp.forms import NS as FORMS
from jabberd.xmpp.forms import Field, FieldType, Form, Submission

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ADMINS", "OWNERS", "Options", "config_form", "filled_in", "shown_fields"]

ADMINS: Final = "muc#roomconfig_roomadmins"
OWNERS: Final = "muc#roomconfig_roomowners"
_PROTECTED: Final = "muc#roomconfig_passwordprotectedroom"
_SECRET: Final = "muc#roomconfig_roomsecret"  # noqa: S105  # a field's name
_MOST: Final = "muc#roomconfig_maxusers"
_HISTORY: Final = "muc#maxhistoryfetch"
_LONGEST: Final = 1_000  # characters of a text

_ROLES: Final = ("moderator", "participant", "visitor")
_ROLE_NAMES: Final = {"moderator": "Moderators", "participant": "Participants", "visitor": "Visitors"}


@dataclass(frozen=True)
class Options:
    """How a room is.

    :ivar logged: anybody who is not banned may read its archive (§7.2.12).
    :ivar archived: what is said is kept, for those who may enter (XEP-0313).
    :ivar allow_pm: who may send private messages: ``anyone``, ``participants``, ``moderators`` or ``none``.
    :ivar most: occupants; 0: as many as the service allows.
    :ivar broadcast: roles whose presence others see.
    :ivar lists: roles that may see who belongs to it, as far as its occupants' addresses are no secret.
    :ivar password: empty: none is needed.
    :ivar whois: who sees the occupants' addresses: ``moderators`` or ``anyone``.
    :ivar history: messages that a newcomer gets, at most.
    :ivar extra: fields that other modules have added to the form, with their values.
    """

    name: str = ""
    description: str = ""
    lang: str = ""
    pubsub: str = ""
    logged: bool = False
    archived: bool = True
    change_subject: bool = False
    allow_invites: bool = False
    allow_pm: str = "anyone"
    most: int = 0
    broadcast: tuple[str, ...] = _ROLES
    lists: tuple[str, ...] = _ROLES
    public: bool = True
    persistent: bool = False
    moderated: bool = False
    members_only: bool = False
    password: str = ""
    whois: str = "moderators"
    history: int = 20
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether everybody who is not banned may enter."""
        return not self.members_only and not self.password

    @property
    def keeps(self) -> bool:
        """Whether what is said goes into the archive."""
        return self.archived or self.logged


@dataclass(frozen=True, slots=True)
class _Row:
    """A field and the attribute of `Options` that it sets."""

    attribute: str
    var: str
    type: FieldType
    label: str
    options: Mapping[str, str] = field(default_factory=dict)

    def field(self, options: Options) -> Field:
        return Field(
            self.var, self.type, self.label, _texts(getattr(options, self.attribute)), options=self.options
        )

    def value(self, given: Submission) -> Any:
        if self.type == "boolean":
            return given.flag(self.var)
        if self.type == "list-multi":
            return given.texts(self.var)
        if len(given.text(self.var)) > _LONGEST:
            raise StanzaError("not-acceptable", f"{self.var} has at most {_LONGEST} characters")
        return given.text(self.var)


#: §15.5.3, and ``enablearchiving``, which clients know from other servers.
_ROWS: Final = (
    _Row("name", "muc#roomconfig_roomname", "text-single", "Name of the room"),
    _Row("description", "muc#roomconfig_roomdesc", "text-single", "Short description"),
    _Row("lang", "muc#roomconfig_lang", "text-single", "Language of the discussions"),
    _Row("pubsub", "muc#roomconfig_pubsub", "text-single", "XMPP URI of its publish-subscribe node"),
    _Row("public", "muc#roomconfig_publicroom", "boolean", "List the room for everybody"),
    _Row("persistent", "muc#roomconfig_persistentroom", "boolean", "Keep the room when nobody is in it"),
    _Row("members_only", "muc#roomconfig_membersonly", "boolean", "Let members alone enter"),
    _Row("moderated", "muc#roomconfig_moderatedroom", "boolean", "Newcomers need to be given voice"),
    _Row("whois", "muc#roomconfig_whois", "list-single", "Who sees the occupants' addresses",
         {"moderators": "Moderators", "anyone": "Anyone"}),
    _Row("change_subject", "muc#roomconfig_changesubject", "boolean", "Let participants change the subject"),
    _Row("allow_invites", "muc#roomconfig_allowinvites", "boolean", "Let members invite others to join them"),
    _Row("allow_pm", "muc#roomconfig_allowpm", "list-single", "Who may send private messages",
         {"anyone": "Anyone", "participants": "Those with voice", "moderators": "Moderators",
          "none": "Nobody"}),
    _Row("broadcast", "muc#roomconfig_presencebroadcast", "list-multi",
         "Whose presence the others see", _ROLE_NAMES),
    _Row("lists", "muc#roomconfig_getmemberlist", "list-multi",
         "Who may list the members, where addresses are no secret", _ROLE_NAMES),
    _Row("archived", "muc#roomconfig_enablearchiving", "boolean",
         "Keep what is said, for those who may enter"),
    _Row("logged", "muc#roomconfig_enablelogging", "boolean", "Let everybody read what was said"),
)  # fmt: skip


def config_form(
    room: str,
    options: Options,
    admins: Iterable[str],
    owners: Iterable[str],
    most: int,
    others: Iterable[Field] = (),
) -> Form:
    """The form with what holds now.

    :param most: occupants that a room may have here.
    :param others: fields of other modules.
    """
    sizes = [str(number) for number in (10, 20, 30, 50, 100, 200, 500, 1000, 5000) if number <= most]
    now = str(options.most) if options.most else "none"
    numbers = dict.fromkeys([*sizes, now, "none"])
    return Form(
        CONFIG,
        (
            *(row.field(options) for row in _ROWS),
            Field(_PROTECTED, "boolean", "Ask for a password", _texts(bool(options.password))),
            Field(_SECRET, "text-private", "The password", _texts(options.password)),
            Field(
                _MOST, "list-single", "Occupants at most", (now,), options={each: each for each in numbers}
            ),
            Field(_HISTORY, "text-single", "Messages for a newcomer, at most", (str(options.history),)),
            Field(ADMINS, "jid-multi", "Admins, all of them", tuple(admins)),
            Field(OWNERS, "jid-multi", "Owners, all of them", tuple(owners)),
            *others,
        ),
        f"Configuration of {room}",
    )


def filled_in(
    form: Form, submitted: Element, options: Options, most: int, history: int
) -> tuple[Options, Submission]:
    """What holds once the form was filled in like that, and the whole submission.

    A field of another module that was left as it was shown is not set by that: what holds where owners have
    not said anything may become something else.

    :raises StanzaError: ``not-acceptable``: a password is to be asked for and is missing, or a number is out
        of its bounds; see also `Form.read`.
    """
    given = _with_number(form, submitted).read(submitted)
    values = {row.attribute: row.value(given) for row in _ROWS}
    password = given.text(_SECRET) if given.flag(_PROTECTED) else ""
    if given.flag(_PROTECTED) and not password:
        raise StanzaError("not-acceptable", "a password is to be asked for, and there is none")
    if len(password) > _LONGEST:
        raise StanzaError("not-acceptable", f"a password has at most {_LONGEST} characters")
    users = given.text(_MOST)
    known = {row.var for row in _ROWS} | {_PROTECTED, _SECRET, _MOST, _HISTORY, ADMINS, OWNERS}
    extra = {
        each.var: given.texts(each.var)
        for each in form.fields
        if each.var not in known and (each.var in options.extra or given.texts(each.var) != each.values)
    }
    new = replace(
        options,
        **values,
        password=password,
        most=0 if users == "none" else _number(users, _MOST, 1, most),
        history=_number(given.text(_HISTORY), _HISTORY, 0, history),
        extra={**options.extra, **extra},
    )
    return new, given


def shown_fields(options: Options) -> tuple[Field, ...]:
    """What everybody may know of a room's configuration (§6.4)."""
    found = {row.attribute: row.field(options) for row in _ROWS}
    return tuple(found[name] for name in ("change_subject", "pubsub") if getattr(options, name) != "")


def _with_number(form: Form, submitted: Element) -> Form:
    """The form, in which any number of occupants is an option: the list of §10.1.3 is one of examples."""
    given = submitted.findtext(f"{{{FORMS}}}field[@var='{_MOST}']/{{{FORMS}}}value")
    if given is None or not given.isdecimal():
        return form
    fields = tuple(
        replace(each, options={**each.options, given: given}) if each.var == _MOST else each
        for each in form.fields
    )
    return replace(form, fields=fields)


def _number(text: str, var: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise StanzaError("not-acceptable", f"{var} is a number from {least} to {most}")
    return int(text)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("1" if value else "0",)
    if isinstance(value, tuple):
        return value
    return (str(value),) if value else ()
