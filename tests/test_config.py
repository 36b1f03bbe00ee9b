"""A configuration file becomes typed settings, or a list of all its mistakes with lines and remedies."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pytest

from jabberd.config import Config, ConfigError
from jabberd.rates import Rate
from jabberd.settings import TLS, Address, Control, Duration, Limits, ServerSettings, Settings, Size
from jabberd.typed import Mistake, checked, read

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DURATION = 'write it like "500 ms", "60 s", "5 min" or "7 d"'
MINIMAL = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 5222
[domains."montague.lit"]
[storage]
url = "memory"
"""


def config(text: str) -> Config:
    return Config("montague.toml", text, Path("/srv/jabberd"))


def settings(more: str = "") -> ServerSettings:
    return config(MINIMAL + more).settings


def mistakes(text: str) -> list[str]:
    """What is told of a file, without its name."""
    try:
        told = config(text)
        assert told.settings is None
    except ConfigError as error:
        return [line.removeprefix("montague.toml:") for line in str(error).splitlines()]
    pytest.fail("no mistake was found")


def mistake(more: str) -> str:
    """The one mistake in what follows the minimal file, without its line."""
    (told,) = mistakes(MINIMAL + more)
    return told.partition(": ")[2]


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.rfc9325("3.2-2")
def test_a_minimal_file_has_safe_defaults_for_the_rest() -> None:
    read = settings()
    assert read.limits == Limits()
    domain = read.domains["montague.lit"]  # type: ignore[index]  # a JID is equal to its text
    assert domain.require_tls
    assert not domain.anonymous
    assert domain.federation == "certificate"
    assert (read.limits.stanza_before_login, read.limits.stanza) == (8192, 262144)
    assert read.limits.elements_before_login == 32


def test_sizes_and_durations_are_written_with_their_units() -> None:
    read = settings(
        '[limits]\nstanza = "2MiB"\nstart_tag = "100 B"\nidle_timeout = "5 min"\nanswer_timeout = "500 ms"\n'
    )
    assert read.limits.stanza == 2 * 1024 * 1024
    assert read.limits.start_tag == 100
    assert read.limits.idle_timeout == 300.0
    assert read.limits.answer_timeout == 0.5


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("60 per min", Rate(60, 60)),
        ("10 per 5 min", Rate(10, 300)),
        ("1 per s", Rate(1, 1)),
        ("200 per 2 h", Rate(200, 7200)),
        ("5 per d", Rate(5, 86400)),
    ],
)
def test_rates_are_written_as_they_are_said(written: str, read: Rate) -> None:
    assert settings(f'[limits]\npresence = "{written}"\n').limits.presence == read


@pytest.mark.parametrize(
    "wrong", ["60", "60 / min", "0 per min", "60 per 0 s", "60 per fortnight", "many per s"]
)
def test_what_is_no_rate_is_told_with_an_example(wrong: str) -> None:
    with pytest.raises(ConfigError) as told:
        settings(f'[limits]\npresence = "{wrong}"\n')
    assert str(told.value).endswith(
        f'limits.presence: is not a rate (got "{wrong}"); write it like "60 per min" or "10 per 5 min"'
    )


@pytest.mark.parametrize("wrong", ["localhost", "192.0.2.1/24", "192.0.2", ""])
def test_what_is_no_network_is_told_with_an_example(wrong: str) -> None:
    with pytest.raises(ConfigError) as told:
        settings(f'[limits]\nexempt = ["192.0.2.0/24", "{wrong}"]\n')
    assert f'(got "{wrong}"); write it like "192.0.2.1" or "2001:db8::/32"' in str(told.value)


@pytest.mark.rfc6120("13.12-4")
def test_a_program_gives_sizes_and_durations_as_numbers() -> None:
    told: list[tuple[object, str]] = []
    given = {"stanza": 10_000, "idle_timeout": 0.5}
    assert read(Limits, given, told=print) == Limits(stanza=10_000, idle_timeout=0.5)
    assert read(Limits, {"stanza": 9_999}, lambda *mistake: told.append(mistake)) is None
    assert told == [(("stanza",), "is too small (got 9999); use 10000 or more")]


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "montague.toml"
    file.parent.mkdir()
    file.write_text(
        MINIMAL.replace('"memory"', '"sqlite:../var/montague.db"')
        + '[tls]\ncertificates = "../certs"\n[federation]\nauthorities = ["system", "ca.pem"]\n'
        + '[control]\nsocket = "m.sock"\n'
    )
    read = Config.read(file).settings
    assert read.tls == TLS(certificates=tmp_path / "certs")
    assert read.federation.authorities == ("system", str(tmp_path / "etc" / "ca.pem"))
    assert read.control == Control(socket=tmp_path / "etc" / "m.sock")
    assert read.storage.url == f"sqlite:///{tmp_path}/var/montague.db"


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("memory", "memory"),
        ("sqlite:m.db", "sqlite:////srv/jabberd/m.db"),
        ("sqlite:/var/m.db", "sqlite:////var/m.db"),
        ("sqlite:///m.db", "sqlite:////srv/jabberd/m.db"),
        ("sqlite:////var/m.db", "sqlite:////var/m.db"),
        ("postgresql://romeo@localhost/montague", "postgresql://romeo@localhost/montague"),
    ],
)
def test_storage_is_memory_a_file_or_postgresql(url: str, read: str) -> None:
    assert config(MINIMAL.replace("memory", url)).settings.storage.url == read


def test_addresses_have_a_port_and_may_be_of_ipv6() -> None:
    read = settings(
        '[federation]\nresolver = "[::1]:5353"\n[federation.hosts]\n"capulet.lit" = "127.0.0.1:5369"\n'
    )
    assert read.federation.resolver == Address("::1", 5353)
    assert read.federation.hosts == {"capulet.lit": Address("127.0.0.1", 5369)}


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        settings().limits.depth = 5  # type: ignore[misc]  # which is what is tried


# --- how mistakes are told ------------------------------------------------------------------------


def test_every_mistake_is_told_at_once_by_line_with_what_it_got_and_what_to_do() -> None:
    assert mistakes("""
[limits]
depth = 0
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = "5222"
[[listeners]]
kind = "s2x"
adress = "::"
port = 70000
[domains."montague.lit"]
federation = "maybe"
""") == [
        "1: storage: is missing; add it",
        "3: limits.depth: is too small (got 0); use 1 or more",
        '7: listeners[0].port: is not a whole number (got "5222"); write only digits, without quotes',
        "8: listeners[1].address: is missing; add it",
        (
            '9: listeners[1].kind: is not known here (got "s2x");'
            " use 'bytestreams', 'c2s', 'component', 'http', 's2s' or 'web'"
        ),
        '10: listeners[1].adress: is not a setting here (got "::"); did you mean address?',
        "11: listeners[1].port: is too large (got 70000); use 65535 or less",
        (
            '13: domains."montague.lit".federation: is not known here (got "maybe");'
            " use 'certificate', 'dialback', 'either' or 'off'"
        ),
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            "[limits]\nstanza = 5",
            'limits.stanza: is not a size (got 5); write it like "100 B", "8 KiB" or "2 MiB"',
        ),
        ('[limits]\nstanza = "8 KiB"', 'limits.stanza: is too small (got "8 KiB"); use 10000 or more'),
        (
            '[limits]\nidle_timeout = "1 week"',
            'limits.idle_timeout: is not a duration (got "1 week"); ' + DURATION,
        ),
        (
            '[limits]\nidle_timeout = "999999 d"',
            'limits.idle_timeout: is too long (got "999999 d"); use "36500 d" or less',
        ),
        ('[limits]\nidle_timeout = "0 s"', 'limits.idle_timeout: is not a duration (got "0 s"); ' + DURATION),
        (
            "[limits]\ndepth = 1.5",
            "limits.depth: is not a whole number (got 1.5); write only digits, without quotes",
        ),
        (
            "[limits]\ndepth = true",
            "limits.depth: is not a whole number (got true); write only digits, without quotes",
        ),
        ('[log]\nlevels = "debug"', 'log.levels: is not a table (got "debug"); give it keys of its own'),
        ("[tls]\ncertificates = {}", "tls.certificates: is not a text (got a table); put it in quotes"),
        (
            "[federation]\nhosts = [1]",
            "federation.hosts: is not a table (got a list); give it keys of its own",
        ),
        (
            '[federation]\nhosts = { "capulet.lit" = "localhost:5269" }',
            (
                'federation.hosts."capulet.lit": is not an address (got "localhost:5269");'
                ' write it like "127.0.0.1:5369" or "[::1]:5369"'
            ),
        ),
        (
            "[federation]\nresolver = 53",
            (
                "federation.resolver: is not an address (got 53);"
                ' write it like "127.0.0.1:5369" or "[::1]:5369"'
            ),
        ),
        (
            "[federation]\nauthorities = [5]",
            'federation.authorities[0]: is not a text (got 5); name a PEM file or "system"',
        ),
        (
            '[domains."capulet.lit"]\nadmins = ["juliet@capulet.lit/balcony"]',
            (
                'domains."capulet.lit".admins[0]: is not an account (got "juliet@capulet.lit/balcony");'
                ' write it like "romeo@montague.lit"'
            ),
        ),
        (
            '[domains."capulet.lit"]\nadmins = ["@capulet.lit"]',
            (
                'domains."capulet.lit".admins[0]: is not an address (got "@capulet.lit");'
                " localpart: empty before '@'"
            ),
        ),
        (
            '[domains."Capulet.lit"]',
            (
                'domains."Capulet.lit": is not a domain as it is spelt in addresses (got "Capulet.lit");'
                ' write "capulet.lit"'
            ),
        ),
        (
            '[domains."capulet.lit"]\nscram = ["SCRAM-SHA-256", "CRAM-MD5"]',
            (
                'domains."capulet.lit".scram[1]: is not known here (got "CRAM-MD5");'
                " use 'SCRAM-SHA-1', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"
            ),
        ),
        (
            '[domains."capulet.lit"]\nscram = "SCRAM-SHA-256"',
            'domains."capulet.lit".scram: is not a list (got "SCRAM-SHA-256"); put it in [ and ]',
        ),
        (
            '[domains."capulet.lit"]\nplain = "no"',
            (
                'domains."capulet.lit".plain: is neither true nor false (got "no");'
                " write one of them, without quotes"
            ),
        ),
        (
            '[domains."capulet.lit".modules]\nversion = 3',
            (
                'domains."capulet.lit".modules.version: is neither true nor false (got 3);'
                " write one of them, without quotes"
            ),
        ),
        (
            f'[control]\nsocket = "{"s" * 100}"',
            (
                f'control.socket: is too long for a Unix socket (got "{"s" * 60}");'
                " choose one of at most 100 bytes"
            ),
        ),
        (
            "[storag]",
            "storag: is not a setting here (got a table); did you mean storage?",
        ),
        (
            "[control]\nport = 1",
            "control.port: is not a setting here (got 1); the settings here are socket",
        ),
        (
            '[components."sms.montague.lit"]\nsecret = "swordfish"',
            (
                'components."sms.montague.lit".secret: is too short (got something secret);'
                " its length is 16 or more"
            ),
        ),
        (
            f'[components."montague.lit"]\nsecret = "{"s" * 16}"',
            ("components: has montague.lit, which is one of the domains (got a table); name another"),
        ),
        (
            '[[listeners]]\nkind = "component"\naddress = "::"\nport = 5347',
            (
                'listeners[1].address: lets other machines in (got "::");'
                " keep to 127.0.0.1 or ::1, or add allow_remote = true"
            ),
        ),
        (
            '[[listeners]]\nkind = "s2s"\naddress = "127.0.0.1"\nport = 5222',
            "listeners: has two at 127.0.0.1 port 5222 (got a list); give each a port of its own",
        ),
        (
            "[domains.capulet.lit]",
            (
                "domains.capulet.lit: is not a setting here (got a table);"
                ' a name with dots stands in quotes, like "capulet.lit"'
            ),
        ),
        (
            '[tls]\ncertificates = "certs\\u0000"',
            'tls.certificates: has a NUL character, which no path has (got "certs\\x00"); take it out',
        ),
        (
            '[[listeners]]\nkind = "component"\naddress = "::1"\nport = 5347\ndirect_tls = true',
            "listeners[1].direct_tls: is not there for components (got true); take it away",
        ),
    ],
)
def test_each_kind_of_mistake_is_told_in_words(more: str, told: str) -> None:
    assert mistake(more) == told


def test_a_file_without_domains_or_listeners_is_refused() -> None:
    assert mistakes('[storage]\nurl = "memory"\n') == [
        '1: domains: is missing; add a table like [domains."montague.lit"]',
        "1: listeners: is missing; add [[listeners]]",
    ]


def test_passwords_are_not_repeated() -> None:
    (told,) = mistakes(MINIMAL.replace("memory", "mysql://romeo:o-juliet@localhost/montague"))
    assert 'got "mysql://***@localhost/montague"' in told

    class Relay(Settings):
        password: str

    other = config("[relay]\npassword = 12345\n")
    assert other.validate(("relay",), Relay) is None
    with pytest.raises(
        ConfigError, match=r"password: is not a text .got something secret.; put it in quotes"
    ):
        other.check()


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert r'(got "\x1b[2J\n")' in mistake('[tls]\nminimum = "\\u001b[2J\\n"')


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "montague.toml"
    file.write_text(MINIMAL, encoding="utf-8-sig")
    assert list(Config.read(file).settings.domains) == ["montague.lit"]


def test_listeners_whose_ports_the_system_chooses_are_not_at_the_same_one() -> None:
    free = '[[listeners]]\nkind = "s2s"\naddress = "127.0.0.1"\nport = 0\n'
    assert len(settings(free + free).listeners) == 3


def test_what_is_not_toml_is_told_with_its_line(tmp_path: Path) -> None:
    remedy = "write a text in quotes, true and false in small letters"
    assert mistakes("a = 1\nb = True\n") == [f"2: is not TOML at column 5; invalid value; {remedy}"]
    assert mistakes("a = 1\na = 2\n")[0].startswith("2: is not TOML")
    assert "; it stands here for the second time: keep one" in mistakes("a = 1\na = 2\n")[0]
    assert mistakes("[a]\n[a]\n")[0].endswith("; put both tables into one")
    assert mistakes("a = 1\n[b")[0].startswith("2: is not TOML")
    assert mistakes('a = """\n\n')[0].startswith("3: is not TOML")
    file = tmp_path / "montague.toml"
    file.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(ConfigError, match=r"montague.toml:2: is not UTF-8; save it as UTF-8"):
        Config.read(file)


def test_a_file_that_cannot_be_read_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file or directory"):
        Config.read(tmp_path / "nowhere.toml")


# --- what other parts ask for ---------------------------------------------------------------------


def no_villains(names: tuple[str, ...]) -> tuple[str, ...]:
    if "evil.example" in names:
        raise Mistake("lets the villain in; take evil.example away")
    return names


class Blocking(Settings):
    limit: int = 1000
    pause: Duration = 5.0
    room: Size = 100
    names: Annotated[tuple[str, ...], checked(no_villains)] = ()
    either: int | str = 0


WITH_MODULES = """
[domains."montague.lit".modules]
version = false
ping = true
[domains."montague.lit".modules.blocking]
limit = 5
pause = "2 s"
names = ["romeo", "mercutio"]
"""
BLOCKING = ("domains", "montague.lit", "modules", "blocking")


def test_a_module_is_on_by_true_or_a_table_and_off_by_false() -> None:
    file = config(MINIMAL.replace('[domains."montague.lit"]', "") + WITH_MODULES)
    wanted = {"version": False, "ping": True, "blocking": True}
    assert file.modules() == {"montague.lit": wanted}
    assert file.settings.domains["montague.lit"].modules == wanted  # type: ignore[index]  # equal to its text


def test_a_module_gets_its_settings_in_a_class_of_its_own() -> None:
    file = config(WITH_MODULES)
    assert file.validate(BLOCKING, Blocking) == Blocking(limit=5, pause=2.0, names=("romeo", "mercutio"))
    assert file.validate((*BLOCKING[:-1], "ping"), Blocking) == Blocking()
    assert file.validate((*BLOCKING[:-1], "nowhere"), Blocking) == Blocking()
    file.check()


def test_mistakes_of_modules_and_of_the_server_are_told_together() -> None:
    file = config(
        MINIMAL.replace("5222", "-1")
        + '[domains."montague.lit".modules.blocking]\nlimits = 1\nnames = [\n"evil.example"]\neither = 1.5\n'
    )
    assert file.modules() == {"montague.lit": {"blocking": True}}
    assert file.validate(BLOCKING, Blocking) is None
    file.problem(("domains", "montague.lit"), "has no certificate in /srv/certs; make one")
    with pytest.raises(ConfigError) as caught:
        assert file.settings
    blocking = 'domains."montague.lit".modules.blocking'
    number = "is not a whole number (got 1.5); write only digits, without quotes"
    assert str(caught.value).splitlines() == [
        "montague.toml:5: listeners[0].port: is too small (got -1); use 0 or more",
        'montague.toml:6: domains."montague.lit": has no certificate in /srv/certs; make one',
        f"montague.toml:10: {blocking}.limits: is not a setting here (got 1); did you mean limit?",
        f"montague.toml:11: {blocking}.names: lets the villain in (got a list); take evil.example away",
        f"montague.toml:13: {blocking}.either: is not a text (got 1.5); put it in quotes",
        f"montague.toml:13: {blocking}.either: {number}",
    ]


# --- the files that come with the server -----------------------------------------------------------


def test_the_example_in_the_package_and_in_etc_are_the_same() -> None:
    assert (ROOT / "jabberd/example.toml").read_text() == (ROOT / "etc/jabberd.toml").read_text()


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every single setting below some settings, with its way there."""
    if isinstance(value, Settings):
        for name in vars(value):
            yield from leaves(getattr(value, name), (*path, name))
    elif path == ("domains",) and isinstance(value, dict):
        yield from leaves(value["montague.lit"], path)
    elif path == ("components",) and isinstance(value, dict) and value:
        yield from leaves(next(iter(value.values())), path)
    elif path == ("listeners",) and isinstance(value, tuple):
        yield from leaves(value[0], path)
    else:
        yield path, value


def test_what_the_example_shows_as_default_is_the_default_and_nothing_is_left_out() -> None:
    source = (ROOT / "etc/jabberd.toml").read_text()
    told = config(re.sub(r'^#(?=[\w"\[])', "", source, flags=re.MULTILINE))
    shown, meant = dict(leaves(told.settings)), dict(leaves(config(source).settings))
    assert {path: shown[path] for path, value in meant.items() if value not in (None, {})} == {
        path: value for path, value in meant.items() if value not in (None, {})
    }
    for path in shown:
        assert f"{path[-1]} = " in source or f"{path[-1]}]" in source, f"{path} is not in the example"


def test_the_example_hosts_both_houses() -> None:
    assert list(Config.read(ROOT / "etc/jabberd.toml").settings.domains) == ["montague.lit", "capulet.lit"]


@pytest.mark.parametrize(
    ("one", "c2s", "s2s", "other", "there"),
    [("montague", 5222, 5269, "capulet", 5369), ("capulet", 5322, 5369, "montague", 5269)],
)
def test_the_halves_of_the_demo_find_each_other(one: str, c2s: int, s2s: int, other: str, there: int) -> None:
    read = Config.read(ROOT / f"etc/{one}.toml").settings
    assert [(each.kind, each.address, each.port) for each in read.listeners] == [
        ("c2s", "127.0.0.1", c2s),
        ("s2s", "127.0.0.1", s2s),
    ]
    rooms = {"montague": ["rooms.montague.lit"]}
    assert list(read.domains) == [f"{one}.lit", *rooms.get(one, [])]
    theirs = [f"{other}.lit", *rooms.get(other, [])]
    assert read.federation.hosts == dict.fromkeys(theirs, Address("127.0.0.1", there))
    assert read.storage.url == f"sqlite:///{ROOT}/var/{one}.db"
