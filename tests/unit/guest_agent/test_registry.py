"""The scenario decorator: names, kinds, cases, options, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agent import Context, Crash, scenario
from agent.errors import RegistryError
from agent.registry import Registered, declared_scenarios, forget_scenarios


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    forget_scenarios()
    yield
    forget_scenarios()


def in_module(name: str, **variables: object) -> Callable[..., None]:
    """A function as a scenario module `name` would define it."""
    namespace: dict[str, object] = {"__name__": f"scenarios.{name}", **variables}
    source = 'def works(t, *case):\n    """First line.\n\n    More."""\n    t.note(case)\n'
    exec(compile(source, f"scenarios/{name}.py", "exec"), namespace)
    function = namespace["works"]
    assert callable(function)
    return function


def only() -> Registered:
    (found,) = declared_scenarios()
    return found


def test_a_bare_decorator_registers_under_module_and_function() -> None:
    scenario(in_module("ioctl"))
    found = only()
    assert (found.name, found.kind, found.summary) == ("ioctl.works", "ioctl", "First line.")
    assert (found.needs, found.build, found.deadline_s, found.expect_crash) == ((), "", 30.0, None)
    assert (found.file, found.line) == ("scenarios/ioctl.py", 1)


def test_kind_comes_from_the_argument_then_the_module() -> None:
    scenario(in_module("one", KIND="mdl"))
    scenario(kind="async")(in_module("two", KIND="mdl"))
    assert [found.kind for found in declared_scenarios()] == ["mdl", "async"]


def test_metadata_has_every_field_the_host_reads() -> None:
    crash = Crash(bugcheck=0xE2, parameters=(1, None, 3, 4))
    scenario(
        needs=["irql"],
        build="fault",
        deadline_s=5,
        expect_dbgprint=["a.b"],
        expect_crash=crash,
        tags=["slow"],
    )(in_module("fault"))
    assert only().metadata() == {
        "name": "fault.works",
        "kind": "fault",
        "summary": "First line.",
        "needs": ["irql"],
        "build": "fault",
        "deadline_s": 5.0,
        "expect_dbgprint": ["a.b"],
        "expect_crash": {
            "bugcheck": 0xE2,
            "parameters": (1, None, 3, 4),
            "exception": None,
            "address": None,
            "hang": False,
        },
        "tags": ["slow"],
        "file": "scenarios/fault.py",
        "line": 1,
    }


def test_a_mapping_of_cases_gives_ids_and_binds_values(context: Context) -> None:
    scenario(cases={"zero": 0, "page": 4096})(in_module("ioctl"))
    found = declared_scenarios()
    assert [one.name for one in found] == ["ioctl.works[zero]", "ioctl.works[page]"]
    found[1].run(context)
    assert context.notes == ["(4096,)"]


def test_a_sequence_of_cases_is_named_by_its_values() -> None:
    scenario(cases=[0, 1, 3])(in_module("ioctl"))
    assert [one.name for one in declared_scenarios()] == [f"ioctl.works[{n}]" for n in (0, 1, 3)]


@pytest.fixture
def context() -> Context:
    from agent.deadline import Deadline

    return Context("x", lambda _operation, _detail, _call=None: None, Deadline.after(5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"build": "de bug"}, "build of"),
        ({"deadline_s": 0}, "deadline_s of"),
        ({"deadline_s": 1e9}, "deadline_s of"),
        ({"expect_dbgprint": ["("]}, "expect_dbgprint of"),
        ({"cases": {"a b": 1}}, "case id 'a b'"),
        ({"kind": "two words"}, "kind or tag"),
        ({"tags": ["a,b"]}, "kind or tag"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_with_its_line(
    options: dict[str, object], message: str
) -> None:
    scenario(**options)(in_module("ioctl"))  # type: ignore[call-overload]
    with pytest.raises(RegistryError, match=message) as raised:
        declared_scenarios()
    assert (raised.value.file, raised.value.line) == ("scenarios/ioctl.py", 1)


@pytest.mark.parametrize("option", ["needs", "expect_dbgprint", "tags"])
def test_a_lone_string_where_a_list_belongs_is_refused(option: str) -> None:
    with pytest.raises(RegistryError, match=f"{option} of works must be a list"):
        scenario(**{option: "irql"})(in_module("ioctl"))  # type: ignore[call-overload]


def test_two_scenarios_of_one_name_are_refused() -> None:
    scenario(in_module("ioctl"))
    scenario(in_module("ioctl"))
    with pytest.raises(RegistryError, match=r"ioctl\.works is declared twice, first at"):
        declared_scenarios()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "async def works(t):\n    assert False\n",
            "async function, whose body would never run",
        ),
        ("async def works(t):\n    yield\n", "async function, whose body would never run"),
        ("def works(t):\n    assert False\n    yield\n", "has a yield, so that its body would never run"),
    ],
)
def test_a_body_that_would_never_run_is_refused_with_its_line(body: str, says: str) -> None:
    namespace: dict[str, Any] = {"__name__": "scenarios.ioctl"}
    exec(compile("\n" + body, "scenarios/ioctl.py", "exec"), namespace)
    scenario(namespace["works"])
    with pytest.raises(RegistryError, match=f"ioctl.works .*{says}") as raised:
        declared_scenarios()
    assert (raised.value.file, raised.value.line) == ("scenarios/ioctl.py", 2)


def test_what_is_no_function_is_refused() -> None:
    class Works:
        pass

    with pytest.raises(TypeError, match="@scenario belongs on a function, not on"):
        scenario(Works)  # type: ignore[arg-type]


@pytest.mark.parametrize("cases", [[], {}, ()])
def test_cases_without_a_case_are_refused(cases: object) -> None:
    scenario(cases=cases)(in_module("ioctl"))  # type: ignore[call-overload]
    with pytest.raises(RegistryError, match=r"cases of ioctl\.works is empty, so that no scenario would run"):
        declared_scenarios()


@pytest.mark.parametrize(
    ("crash", "says"),
    [
        (Crash(parameters=(1, 2, 3, 4)), "parameters are those of a bugcheck"),
        (Crash(exception=5, parameters=(1, 2, 3, 4)), "parameters are those of a bugcheck"),
        (Crash(bugcheck=1, parameters=(1, 2, 3, 4, 5)), "a bugcheck has 4 parameters, not 5"),
        (Crash(bugcheck=1, address=0), "address is that of an exception"),
        (Crash(bugcheck=-1), "bugcheck must be a number that is not negative, not -1"),
        (Crash(exception="0xC0000005"), "exception must be a number"),  # type: ignore[arg-type]
        ("0xE2", "must be a Crash, not '0xE2'"),
    ],
)
def test_a_crash_that_cannot_be_met_is_refused(crash: Crash, says: str) -> None:
    scenario(expect_crash=crash)(in_module("fault"))
    with pytest.raises(RegistryError, match=r"expect_crash of fault\.works: ") as raised:
        declared_scenarios()
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "crash", [Crash(), Crash(hang=True), Crash(bugcheck=0x44, hang=True), Crash(exception=5, address=0)]
)
def test_a_crash_that_guests_report_in_different_ways_is_taken(crash: Crash) -> None:
    scenario(expect_crash=crash)(in_module("fault"))
    assert only().expect_crash == crash
