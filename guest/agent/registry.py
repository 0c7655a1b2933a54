"""The `scenario` decorator and the registry behind it: names, metadata, cases.

A scenario module is a file of a scenario folder. The agent imports it as `scenarios.<module>`:

    from agent import Context, scenario
    from scenarios import contract

    KIND = "ioctl"

    @scenario(expect_dbgprint=[r"CR42: open"])
    def set_then_get(t: Context) -> None:
        \"\"\"SET 2, then GET 2, gives the value back.\"\"\"

This scenario is named `<module>.<function>`; with `cases`, each case is a scenario
`<module>.<function>[<case>]`. Importing a scenario module must load no Windows DLL, because the host collects
on Linux.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, overload

from agent.context import Context
from agent.errors import RegistryError

T = TypeVar("T")
Function = Callable[[Context], None]
CaseFunction = Callable[[Context, T], None]
Body = Callable[[Context], object]
"""What is run. The host reads declarations alone, so only the run can tell that a body returns something."""

BUILD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MARK = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
CASE_ID = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
PARAMETERS = 4  # of a bugcheck


@dataclass(frozen=True)
class Crash:
    """The crash that a scenario expects: `Crash()` is met by any bugcheck or exception.

    Where `bugcheck` is given and no `exception`, an exception does not match, and the reverse. A hang matches
    with `hang=True` only.

    Args:
        bugcheck: bugcheck code.
        parameters: the four bugcheck parameters; None among them matches any value.
        exception: exception code, where the guest reports an exception instead of a bugcheck (Wine).
        address: the address whose access faulted.
        hang: the guest is expected to hang instead.
    """

    bugcheck: int | None = None
    parameters: tuple[int | None, ...] | None = None
    exception: int | None = None
    address: int | None = None
    hang: bool = False


@dataclass(frozen=True)
class Registered:
    """One scenario, ready to run. `run` takes the context; the case, if any, is bound already."""

    name: str
    kind: str
    summary: str
    needs: tuple[str, ...]
    build: str
    deadline_s: float
    expect_dbgprint: tuple[str, ...]
    expect_crash: Crash | None
    tags: tuple[str, ...]
    file: str
    line: int
    run: Body

    def metadata(self) -> dict[str, Any]:
        """The JSON object that `--list` prints for this scenario."""
        crash = asdict(self.expect_crash) if self.expect_crash else None
        return {
            "name": self.name,
            "kind": self.kind,
            "summary": self.summary,
            "needs": list(self.needs),
            "build": self.build,
            "deadline_s": self.deadline_s,
            "expect_dbgprint": list(self.expect_dbgprint),
            "expect_crash": crash,
            "tags": list(self.tags),
            "file": self.file,
            "line": self.line,
        }


@dataclass(frozen=True)
class Declared:
    """The arguments of one use of the decorator; the registry makes one or more `Registered` from it."""

    function: Callable[..., None]
    needs: tuple[str, ...]
    build: str
    deadline_s: float
    expect_dbgprint: tuple[str, ...]
    expect_crash: Crash | None
    kind: str
    tags: tuple[str, ...]
    cases: tuple[tuple[str, Any], ...] | None


_declared: list[Declared] = []


@overload
def scenario(function: Function, /) -> Function: ...


@overload
def scenario(
    *,
    needs: Sequence[str] = ...,
    build: str = ...,
    deadline_s: float = ...,
    expect_dbgprint: Sequence[str] = ...,
    expect_crash: Crash | None = ...,
    kind: str = ...,
    tags: Sequence[str] = ...,
) -> Callable[[Function], Function]: ...


@overload
def scenario(
    *,
    cases: Mapping[str, T],
    needs: Sequence[str] = ...,
    build: str = ...,
    deadline_s: float = ...,
    expect_dbgprint: Sequence[str] = ...,
    expect_crash: Crash | None = ...,
    kind: str = ...,
    tags: Sequence[str] = ...,
) -> Callable[[CaseFunction[T]], CaseFunction[T]]: ...


@overload
def scenario(
    *,
    cases: Sequence[T],
    needs: Sequence[str] = ...,
    build: str = ...,
    deadline_s: float = ...,
    expect_dbgprint: Sequence[str] = ...,
    expect_crash: Crash | None = ...,
    kind: str = ...,
    tags: Sequence[str] = ...,
) -> Callable[[CaseFunction[T]], CaseFunction[T]]: ...


def scenario(
    function: Callable[..., None] | None = None,
    /,
    *,
    cases: Mapping[str, Any] | Sequence[Any] | None = None,
    needs: Sequence[str] = (),
    build: str = "",
    deadline_s: float = 30.0,
    expect_dbgprint: Sequence[str] = (),
    expect_crash: Crash | None = None,
    kind: str = "",
    tags: Sequence[str] = (),
) -> Any:
    """Registers a function as a scenario; usable bare or with arguments.

    The function returns nothing: what it returns is an error. What a thread that it starts raises is its own
    outcome.

    Args:
        cases: one scenario per case; the function takes the case's value as its second argument.
            A mapping gives the ids; otherwise the id is the value's text (`str`).
        needs: capabilities the guest must have; if one is missing, the host skips the scenario and names it.
        build: the only driver build of winvm.toml that the scenario runs against; empty for any.
        deadline_s: seconds after which the host reports the scenario as hung.
        expect_dbgprint: regular expressions, each of which must match a DbgPrint line of this scenario.
        expect_crash: the scenario passes only when the guest goes down like this, after its first operation.
        kind: group of the scenario; the default is the module's `KIND`, or else the module's name.
        tags: further pytest markers that select it, besides its kind.

    Raises:
        RegistryError: an option has an invalid value.
    """

    def declare(body: Callable[..., None]) -> Callable[..., None]:
        if not inspect.isfunction(body):
            raise TypeError(f"@scenario belongs on a function, not on {body!r}")
        _declared.append(
            Declared(
                function=body,
                needs=_strings(needs, "needs", body),
                build=build,
                deadline_s=float(deadline_s),
                expect_dbgprint=_strings(expect_dbgprint, "expect_dbgprint", body),
                expect_crash=expect_crash,
                kind=kind,
                tags=_strings(tags, "tags", body),
                cases=None if cases is None else _named_cases(cases),
            )
        )
        return body

    return declare if function is None else declare(function)


def declared_scenarios() -> tuple[Registered, ...]:
    """Everything declared so far, in the order of the modules and their lines.

    Raises:
        RegistryError: two scenarios have one name, or an option is invalid; names file and line.
    """
    found: dict[str, Registered] = {}
    for declared in _declared:
        for registered in _expand(declared):
            if registered.name in found:
                first = found[registered.name]
                raise RegistryError(
                    f"scenario {registered.name} is declared twice, first at {first.file}:{first.line}",
                    registered.file,
                    registered.line,
                )
            found[registered.name] = registered
    return tuple(found.values())


def forget_scenarios() -> None:
    """Empties the registry, for a process that collects more than once (tests)."""
    _declared.clear()


def _strings(value: Sequence[str], option: str, body: Callable[..., None]) -> tuple[str, ...]:
    """A sequence of strings. Refuses a single string, which would be read as a sequence of letters."""
    if isinstance(value, str):
        raise RegistryError(
            f"{option} of {body.__name__} must be a list of strings, not {value!r}", *_where(body)
        )
    return tuple(value)


def _named_cases(cases: Mapping[str, Any] | Sequence[Any]) -> tuple[tuple[str, Any], ...]:
    if isinstance(cases, Mapping):
        return tuple(cases.items())
    return tuple((str(value), value) for value in cases)


def _where(function: Callable[..., None]) -> tuple[str, int]:
    code = function.__code__
    return code.co_filename, code.co_firstlineno


def _expand(declared: Declared) -> Iterable[Registered]:
    function = declared.function
    file, line = _where(function)
    name = f"{function.__module__.removeprefix('scenarios.')}.{function.__name__}"
    _validate(declared, name, file, line)
    kind = declared.kind or str(function.__globals__.get("KIND", "")) or name.partition(".")[0]

    def registered(full_name: str, run: Body) -> Registered:
        return Registered(
            name=full_name,
            kind=kind,
            summary=(inspect.getdoc(function) or "").partition("\n")[0],
            needs=declared.needs,
            build=declared.build,
            deadline_s=declared.deadline_s,
            expect_dbgprint=declared.expect_dbgprint,
            expect_crash=declared.expect_crash,
            tags=declared.tags,
            file=file,
            line=line,
            run=run,
        )

    if declared.cases is None:
        yield registered(name, function)
        return
    for case_id, value in declared.cases:
        if not CASE_ID.fullmatch(case_id):
            raise RegistryError(f"case id {case_id!r} of {name} must match {CASE_ID.pattern}", file, line)
        yield registered(f"{name}[{case_id}]", _bound(function, value))


def _bound(function: Callable[..., object], value: object) -> Body:
    def run(t: Context) -> object:
        return function(t, value)

    return run


def _validate(declared: Declared, name: str, file: str, line: int) -> None:
    if never_run := _never_run(declared.function):
        raise RegistryError(f"{name} {never_run}", file, line)
    if declared.cases == ():
        raise RegistryError(
            f"cases of {name} is empty, so that no scenario would run: give a case, or leave cases out",
            file,
            line,
        )
    if declared.expect_crash and (wrong := _contradiction(declared.expect_crash)):
        raise RegistryError(f"expect_crash of {name}: {wrong}", file, line)
    if declared.build and not BUILD.fullmatch(declared.build):
        raise RegistryError(f"build of {name} must match {BUILD.pattern}, not {declared.build!r}", file, line)
    if not 0 < declared.deadline_s <= 3600:
        raise RegistryError(
            f"deadline_s of {name} must be in (0, 3600], not {declared.deadline_s}", file, line
        )
    for mark in (declared.kind, *declared.tags):
        if mark and not MARK.fullmatch(mark):
            raise RegistryError(f"kind or tag {mark!r} of {name} must match {MARK.pattern}", file, line)
    for pattern in declared.expect_dbgprint:
        try:
            re.compile(pattern)
        except re.error as error:
            raise RegistryError(f"expect_dbgprint of {name}: {pattern!r}: {error}", file, line) from error


def _never_run(function: Callable[..., None]) -> str:
    """Why a call of the function would not run its body; empty if it would."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "is an async function, whose body would never run: write `def`, and t.threads for concurrency"
    if inspect.isgeneratorfunction(function):
        return "has a yield, so that its body would never run: remove the yield"
    return ""


def _contradiction(crash: Crash) -> str:
    """What no crash could meet; empty if there is nothing."""
    if not isinstance(crash, Crash):
        return f"must be a Crash, not {crash!r}"
    for field in ("bugcheck", "exception", "address"):
        value = getattr(crash, field)
        if value is not None and not (isinstance(value, int) and 0 <= value < 1 << 64):
            return f"{field} must be a number that is not negative, not {value!r}"
    if crash.parameters is not None and crash.bugcheck is None:
        return "parameters are those of a bugcheck: name the bugcheck, too"
    if crash.parameters is not None and len(crash.parameters) > PARAMETERS:
        return f"a bugcheck has {PARAMETERS} parameters, not {len(crash.parameters)}"
    if crash.address is not None and crash.exception is None:
        return "address is that of an exception: name the exception, too"
    return ""
