"""Modules are found by name, ordered by what they require, and end in the opposite order."""

from __future__ import annotations

import pkgutil
import sys
from typing import TYPE_CHECKING

import pytest

from jabberd import modules
from jabberd.api import ACCOUNT, ANYONE, DOMAIN, IQ, Keyed, Module, Settings, Size, answers, undelivered
from jabberd.loader import (
    BESIDE,
    DEFAULT,
    SERVICE_DEFAULT,
    LoadError,
    available,
    chosen,
    module_class,
)
from jabberd.testing.outcome import done
from tests.rehearsal import Rehearsal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import LoggedErrors


class Plain(Module):
    """Does nothing."""


def requiring(*names: str) -> type[Module]:
    return type("Requiring", (Module,), {"requires": names})


def wrong(*names: str, **classes: type[Module]) -> str:
    """What is wrong with these modules."""
    with pytest.raises(LoadError) as refused:
        Rehearsal({name: {} for name in (*names, *classes)}, classes)
    assert str(refused.value) == f"module {refused.value.module}: {refused.value.said}"
    return str(refused.value)


# -- by name ------------------------------------------------------------------------------------------


def test_a_module_of_ours_is_the_one_class_in_the_file_of_its_name() -> None:
    found = module_class("ping")
    assert (found.__module__, found.__name__, found.xep) == ("jabberd.modules.ping", "Ping", 199)


@pytest.mark.parametrize("name", available())
def test_every_module_that_is_said_to_be_available_can_be_found(name: str) -> None:
    assert issubclass(module_class(name), Module)


def test_the_modules_that_every_domain_has_work_together() -> None:
    with Rehearsal({name: {} for name in DEFAULT}) as stage:
        assert {module.name for module in stage.domain.modules} == set(DEFAULT)


def test_a_domain_has_the_usual_modules_and_those_switched_on_less_those_switched_off() -> None:
    assert chosen({}) == list(DEFAULT)
    wanted = chosen({"version": False, "strangers": True, "ping": True, "mam": False})
    assert wanted == [name for name in DEFAULT if name != "version"] + ["strangers"]
    rooms = chosen({"muc_hats": False}, "muc")
    assert rooms == [name for name in (*SERVICE_DEFAULT, "muc", *BESIDE["muc"]) if name != "muc_hats"]


def test_the_folder_is_not_read_for_a_module_that_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    module_class("ping")
    monkeypatch.setattr(pkgutil, "iter_modules", lambda _: pytest.fail("it was read"))
    assert module_class("ping").__module__ == "jabberd.modules.ping"


def test_a_name_that_nobody_has_is_told_with_the_nearest_one() -> None:
    assert wrong("pingg") == "module pingg: there is no such module; did you mean ping?"


def test_a_name_that_is_like_none_is_told_with_all_of_them() -> None:
    assert wrong("xylophone").startswith(
        "module xylophone: there is no such module; there are administration, "
    )


@pytest.mark.parametrize("name", ["", ".", "ping.Ping", "../ping", "__init__", "Ping"])
def test_only_names_are_names(name: str) -> None:
    assert wrong(name).startswith(f"module {name}: there is no such module; ")


# -- somebody else's ----------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path where packages can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(shelf: Path, package: str, source: str, points: str) -> None:
    (shelf / f"{package}.py").write_text(source)
    info = shelf / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[jabberd.modules]\n{points}\n")
    sys.modules.pop(package, None)


MODULE = "from jabberd.api import Module\nclass Fate(Module): pass\n"


def test_an_installed_package_offers_modules_by_entry_points(shelf: Path) -> None:
    install(shelf, "fate_one", MODULE, "fate = fate_one:Fate")
    assert module_class("fate").__module__ == "fate_one"
    assert "fate" in available()


def test_nobody_can_take_the_place_of_a_module_of_ours(shelf: Path) -> None:
    install(shelf, "fate_two", MODULE, "ping = fate_two:Fate")
    assert module_class("ping").__module__ == "jabberd.modules.ping"


def test_two_packages_that_offer_the_same_name_are_refused(shelf: Path) -> None:
    install(shelf, "fate_three", MODULE, "fate = fate_three:Fate")
    install(shelf, "fate_four", MODULE, "fate = fate_four:Fate")
    assert wrong("fate") == "module fate: there are 2 modules of this name; there must be one"


def test_an_entry_point_that_names_no_module_is_refused(shelf: Path) -> None:
    install(shelf, "fate_five", "Fate = 5\n", "fate = fate_five:Fate")
    assert wrong("fate") == "module fate: its entry point names 5; name a subclass of jabberd.api.Module"


def test_a_package_that_cannot_be_imported_is_told_in_one_line(shelf: Path) -> None:
    install(shelf, "fate_six", "import no_such_library\n", "fate = fate_six:Fate")
    assert wrong("fate") == (
        "module fate: cannot be imported (ModuleNotFoundError: No module named 'no_such_library'); repair it"
    )


def test_a_declaration_that_makes_no_sense_is_told_in_one_line(shelf: Path) -> None:
    source = (
        "from jabberd.api import DOMAIN, Module, answers\n"
        "class Fate(Module):\n"
        "    @answers.get('urn:x', 'fate', to=DOMAIN)\n"
        "    def fate(self, request): ...\n"
    )
    install(shelf, "fate_seven", source, "fate = fate_seven:Fate")
    assert wrong("fate").endswith("a domain has no owner: say by=LOCAL or ANYONE); repair it")


def test_a_file_of_ours_with_several_modules_is_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shelf / "twins.py").write_text(MODULE + MODULE.replace("Fate", "Chance"))
    monkeypatch.setattr(modules, "__path__", [str(shelf)])
    monkeypatch.delitem(sys.modules, "jabberd.modules.twins", raising=False)
    assert wrong("twins") == "module twins: there are 2 modules of this name; there must be one"


def test_a_folder_of_ours_is_a_module_too(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shelf / "rooms"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from jabberd.modules.ping import Ping\nfrom jabberd.modules.rooms.module import Fate\n"
    )
    (folder / "module.py").write_text(MODULE)
    monkeypatch.setattr(modules, "__path__", [*modules.__path__, str(shelf)])
    assert module_class("rooms").__module__ == "jabberd.modules.rooms.module"  # and not Ping, a guest


# -- order ------------------------------------------------------------------------------------------


def test_a_module_comes_after_those_it_requires() -> None:
    rehearsal = Rehearsal(
        {"c": {}, "b": {}, "a": {}}, {"a": Plain, "b": requiring("a"), "c": requiring("b", "a")}
    )
    assert list(rehearsal.modules.registry.modules) == ["a", "b", "c"]


def test_a_required_module_that_is_switched_off_is_named() -> None:
    assert wrong(caps=requiring("disco")) == (
        "module caps: requires disco, which is missing; switch disco on"
    )


def test_a_required_module_that_nobody_knows_is_named_with_the_nearest() -> None:
    assert wrong(caps=requiring("disko")) == (
        "module caps: requires disko, which is missing; did you mean disco?"
    )


def test_modules_that_require_each_other_are_named() -> None:
    assert wrong(a=requiring("b"), b=requiring("c"), c=requiring("a")) in {
        f"module {x}: requires itself: {x} requires {y} requires {z} requires {x}; break the circle"
        for x, y, z in ("abc", "bca", "cab")
    }


# -- settings, stores and conflicts -----------------------------------------------------------------


class Configured(Module):
    """Has settings."""

    class Config(Settings):
        """Its settings."""

        size: Size = 1024

    config: Config


def test_settings_are_given_as_a_table_or_as_they_were_validated() -> None:
    for settings, size in (({}, 1024), ({"size": 5}, 5), (Configured.Config(size=7), 7)):
        rehearsal = Rehearsal({"configured": settings}, {"configured": Configured})
        module = rehearsal.modules.registry.modules["configured"]
        assert isinstance(module, Configured)
        assert module.config.size == size


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(LoadError, match=r"module configured: its setting size is not a size .got 0.; write"):
        Rehearsal({"configured": {"size": 0}}, {"configured": Configured})
    with pytest.raises(LoadError, match="module plain: its setting size is not a setting here"):
        Rehearsal({"plain": {"size": 1}}, {"plain": Plain})


class Numbers(Module):
    """Keeps numbers."""

    values = Keyed("values", of=int)


class Words(Module):
    """Keeps words, in a store of the same name."""

    values = Keyed("values", of=str)


def test_stores_are_bound_to_the_domains_storage() -> None:
    rehearsal = Rehearsal({"numbers": {}}, {"numbers": Numbers})
    module = rehearsal.modules.registry.modules["numbers"]
    assert isinstance(module, Numbers)
    module.values.put("romeo@montague.lit", "steps", 3)
    assert done(rehearsal.storage.load("romeo@montague.lit", ["values"])) == {"values": {"steps": 3}}


def test_two_modules_that_keep_different_things_in_one_store_are_refused() -> None:
    said = wrong(numbers=Numbers, words=Words)
    assert said == (
        "module words: the store 'values' holds <class 'int'>, not <class 'str'>; rename the store"
    )


class Echo(Module):
    """Answers."""

    @answers.get("urn:x", "echo", to=DOMAIN, by=ANYONE)
    def echo(self, request: IQ) -> None: ...


class Keeper(Module):
    """Takes what is undelivered."""

    @undelivered
    def keep(self, *_: object) -> None: ...


def test_two_modules_that_answer_the_same_question_are_refused() -> None:
    assert wrong(one=Echo, two=Echo) == (
        "module two: takes iq get {urn:x}echo for domains, and so does one; switch one of them off"
    )


def test_two_modules_that_take_what_is_undelivered_are_refused() -> None:
    assert wrong("offline", keeper=Keeper) == (
        "module keeper: takes undelivered messages, and so does offline; switch one of them off"
    )


def test_one_class_that_answers_the_same_question_twice_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="Twice: again and echo both answer"):

        class Twice(Echo):
            @answers.get("urn:x", "echo", to=DOMAIN, by=ANYONE)
            @answers.get("urn:x", "echo", to=ACCOUNT)
            def again(self, request: IQ) -> None: ...


# -- start and stop -----------------------------------------------------------------------------------


class Player(Module):
    """Writes down what happens; says no where it was told to."""

    said: list[str]
    refuses: tuple[str, ...] = ()

    async def start(self) -> None:
        self._do("start")

    async def stop(self) -> None:
        self._do("stop")

    def _do(self, what: str) -> None:
        self.said.append(f"{what} {self.name}")
        if what in self.refuses:
            raise RuntimeError(f"{self.name} would not {what}")


def players(**refusals: str) -> tuple[Rehearsal, list[str]]:
    """Modules a, b and c, each requiring the one before."""
    said: list[str] = []
    classes: dict[str, type[Module]] = {}
    for before, name in zip(("", "a", "b"), "abc", strict=True):
        facts = {"said": said, "requires": (before,) if before else (), "refuses": (refusals.get(name, ""),)}
        classes[name] = type("Player", (Player,), facts)
    return Rehearsal({name: {} for name in "cab"}, classes), said


def test_modules_stop_in_the_opposite_order_of_their_start() -> None:
    rehearsal, said = players()
    with rehearsal:
        assert said == ["start a", "start b", "start c"]
        said.clear()
    assert said == ["stop c", "stop b", "stop a"]


def test_a_start_that_fails_stops_those_that_were_started_and_is_told() -> None:
    rehearsal, said = players(c="start")
    with pytest.raises(RuntimeError, match="c would not start"), rehearsal:
        pass
    assert said == ["start a", "start b", "start c", "stop b", "stop a"]


def test_a_stop_that_fails_does_not_keep_the_others(logged_errors: LoggedErrors) -> None:
    rehearsal, said = players(b="stop")
    with rehearsal:
        said.clear()
    assert said == ["stop c", "stop b", "stop a"]
    [error] = logged_errors.take(RuntimeError)
    assert error.startswith("module b did not stop as it should")


def test_modules_that_were_stopped_are_not_stopped_again() -> None:
    rehearsal, said = players()
    with rehearsal:
        pass
    said.clear()
    done(rehearsal.modules.stop())
    assert said == []
