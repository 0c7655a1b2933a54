"""winvm.toml -> frozen, validated types. Owns every key a user may write and its default.

Paths in the file are relative to the folder that holds it. Unknown keys are refused: a misspelt key that is
silently ignored costs its writer an hour.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from harness.errors import ConfigurationError
from harness.host.ownership import belongs_to_user, invoking_user
from harness.host.regular import open_regular
from harness.project.trust import require_trusted, runs_no_program

FILE_NAME = "winvm.toml"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
ParameterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
RegistryName = Annotated[
    str, StringConstraints(pattern=r"^[^\\\x00-\x1f]+(\\[^\\\x00-\x1f]+)*$", max_length=255)
]
RegistryValue = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)] | StrictStr | tuple[StrictStr, ...]
Parameter = StrictBool | StrictInt | StrictFloat | StrictStr
LARGEST_FILE = 1 << 20  # bytes
LibvirtUri = Annotated[str, AfterValidator(runs_no_program)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DriverSection(_Section):
    """`[driver]`: what is built and how it is loaded.

    `build` is run once for each of `builds` in `folder`, with `{build}`, `{out}` and `{python}` (winvm's own
    interpreter) replaced; it leaves `<name>.sys` and `<name>.pdb` in `{out}`. `contract` names the generated
    module that declares HELLO, empty when the driver has none.

    `sources` lists files, folders and patterns that winvm compiles itself, with `include`, `defines`,
    `libraries` and further clang `options`; `project` names a .vcxproj or .sln that lists them, `cmake` the
    folder of a CMakeLists.txt whose target `name` is the driver, `meson` that of a meson.build which makes
    `<name>.sys`. Without these and without `build`, the folder decides: a Makefile, a Visual Studio project,
    or its C and C++ files.

    `wdk` is the folder of a WDK, an EWDK or the NuGet package, whose headers and libraries `sources` and
    `project` are compiled with, in place of winvm's driver kit.

    `coverage` and `guard` build the driver instrumented; see docs/coverage.md and docs/guard.md.

    `prebuilt` is a `.sys` that is built elsewhere, with `{build}` replaced; winvm builds nothing then. `inf`
    is the INF of the package that holds it; guests with capability `inf-package` install the driver by it.
    """

    guidance: ClassVar[bool] = False  # no key: `winvm fuzz` alone builds the driver so
    name: Name = "winvm"
    folder: Path = Path("driver")
    build: tuple[str, ...] = ("make", "--no-print-directory", "BUILD={build}", "OUT={out}")
    builds: tuple[Name, ...] = Field(default=("release",), min_length=1)
    sources: tuple[str, ...] = ()
    project: str = ""
    cmake: str = ""
    meson: str = ""
    include: tuple[Path, ...] = ()
    defines: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    wdk: str = ""
    contract: str = ""
    coverage: StrictBool = False
    guard: StrictBool = False
    prebuilt: str = ""
    inf: str = ""

    @model_validator(mode="after")
    def _package_has_its_driver(self) -> DriverSection:
        if self.inf and not self.prebuilt:
            raise ValueError("inf names a package that is built elsewhere: prebuilt must name the .sys in it")
        return self

    @model_validator(mode="after")
    def _is_built_in_one_way(self) -> DriverSection:
        known = ("build", "sources", "project", "cmake", "meson")
        ways = [way for way in known if way in self.model_fields_set]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} each say how the driver is built: keep one of them")
        extras = [key for key in ("include", "defines", "libraries", "options") if getattr(self, key)]
        if extras and ways and ways != ["sources"]:
            raise ValueError(f"{extras[0]} goes with sources, not with {ways[0]}")
        return self


class GuidedDriver(DriverSection):
    """`[driver]` as `winvm fuzz` builds it."""

    guidance: ClassVar[bool] = True


class CheckSection(_Section):
    """`[check]`: severity of a rule of the static check, over its own: refuse, note or ignore."""

    rules: dict[str, Literal["refuse", "note", "ignore"]] = Field(default_factory=dict)


class ServiceSection(_Section):
    """`[service]`: how the driver's service is made, where no INF makes it.

    `parameters` are registry values that are written before the driver starts: below the service's subkey
    `Parameters`, or where a name has a backslash, below its own key. A number becomes a REG_DWORD, a
    text a REG_SZ, a list of texts a REG_MULTI_SZ.
    """

    type: Literal["kernel", "file-system"] = "kernel"
    start: Literal["boot", "system", "auto", "demand"] = "demand"
    parameters: dict[RegistryName, RegistryValue] = Field(default_factory=dict)


class CompanionSection(DriverSection):
    """`[[deploy.drivers]]`: another driver, loaded before or after the one under test, in the file's order.

    It has the keys of `[driver]` that say how it is built; the builds are those of `[driver]`. `service` is
    as the section of that name.
    """

    load: Literal["before", "after"] = "before"
    service: ServiceSection = ServiceSection()

    @model_validator(mode="after")
    def _is_not_watched(self) -> CompanionSection:
        if self.coverage or self.guard:
            raise ValueError("coverage and guard are for the driver under test, in [driver]")
        return self


class DeploySection(_Section):
    """`[deploy]`: what is brought into the guest besides the driver and the agent.

    `files` are paths and patterns relative to winvm.toml; each file keeps its relative path in the guest.
    """

    files: tuple[str, ...] = ()
    drivers: tuple[CompanionSection, ...] = ()


class ScenariosSection(_Section):
    """`[scenarios]`: folders with scenario modules, shipped to the guest together."""

    folders: tuple[Path, ...] = Field(default=(Path("guest/scenarios"),), min_length=1)


DEFAULT_PROFILE = "wine"
"""Needs nothing from the user: winvm builds its image itself."""


class GuestSection(_Section):
    """`[guest]`: which profile of vm/profiles/ runs when `--guest` is not given, and where.

    `uri` names a libvirt daemon (`qemu:///system`); empty for libvirt's driver inside this process.
    """

    profile: Name = DEFAULT_PROFILE
    uri: LibvirtUri = ""


class ArtifactsSection(_Section):
    """`[artifacts]`: where runs leave their results."""

    folder: Path = Path("artifacts")


class HostSection(_Section):
    """`[[nightly.hosts]]`: a libvirt host and what guests may take of it; 0 is all that it has.

    `uri` is a daemon's, as `qemu+ssh://user@host/system`; empty for the driver in winvm's own process.
    """

    uri: LibvirtUri = ""
    memory_mib: Annotated[int, Field(ge=0)] = 0
    cores: Annotated[int, Field(ge=0)] = 0


class NightlySection(_Section):
    """`[nightly]`: the matrix of `winvm nightly`. What is empty is taken from the rest of the file.

    `verifier` says whether each combination runs without Driver Verifier, with it, or both. `parameters` are
    given to every cell, over those of `[parameters]`.
    """

    profiles: tuple[Name, ...] = ()
    builds: tuple[Name, ...] = ()
    verifier: tuple[StrictBool, ...] = Field(default=(False,), min_length=1)
    hosts: tuple[HostSection, ...] = Field(default=(HostSection(),), min_length=1)
    parameters: dict[ParameterName, Parameter] = Field(default_factory=dict)


class Config(_Section):
    """The whole file. `root` is the folder that holds it; every path property is absolute.

    `[parameters]` declares what scenarios find in `t.params`: names and defaults, which also give the types.
    """

    driver: DriverSection = DriverSection()
    check: CheckSection = CheckSection()
    service: ServiceSection = ServiceSection()
    deploy: DeploySection = DeploySection()
    scenarios: ScenariosSection = ScenariosSection()
    guest: GuestSection = GuestSection()
    artifacts: ArtifactsSection = ArtifactsSection()
    nightly: NightlySection = NightlySection()
    parameters: dict[ParameterName, Parameter] = Field(default_factory=dict)
    root: Path = Field(default=Path(), exclude=True)

    def without_guard(self) -> Self:
        """This configuration for a guest that watches the driver itself."""
        return self.model_copy(update={"driver": self.driver.model_copy(update={"guard": False})})

    def with_changes(
        self,
        artifacts: str | None = None,
        uri: str | None = None,
        *,
        coverage: bool = False,
        guard: bool = False,
        guidance: bool = False,
    ) -> Self:
        """This configuration with another artifacts folder or libvirt daemon, or further instruments."""
        changes: dict[str, object] = {}
        asked = {"coverage": coverage, "guard": guard}
        if more := {name: True for name, wanted in asked.items() if wanted}:
            changes["driver"] = self.driver.model_copy(update=more)
        if guidance:
            driver = changes.get("driver", self.driver)
            assert isinstance(driver, DriverSection)
            changes["driver"] = GuidedDriver.model_construct(driver.model_fields_set, **dict(driver))
        if artifacts is not None:
            changes["artifacts"] = ArtifactsSection(folder=Path(artifacts).resolve())
        if uri is not None:
            changes["guest"] = self.guest.model_copy(update={"uri": uri})
        return self.model_copy(update=changes)

    @property
    def driver_folder(self) -> Path:
        """Where the driver's build command runs."""
        return self.root / self.driver.folder

    def prebuilt_driver(self, build: str) -> Path | None:
        """The `.sys` that is taken instead of building one, if winvm.toml names one."""
        named = self.driver.prebuilt.replace("{build}", build)
        return self.root / named if named else None

    def package(self, build: str) -> Path | None:
        """The INF by whose package the driver is installed, if winvm.toml names one."""
        named = self.driver.inf.replace("{build}", build)
        return self.root / named if named else None

    def of_companion(self, companion: CompanionSection) -> Config:
        """This configuration with another driver in place of the one under test; its builds are the same."""
        return self.model_copy(
            update={"driver": companion.model_copy(update={"builds": self.driver.builds}), "contract": ""}
        )

    @property
    def scenario_folders(self) -> tuple[Path, ...]:
        """Scenario folders, in the order of the file."""
        return tuple(self.root / folder for folder in self.scenarios.folders)

    @property
    def artifacts_folder(self) -> Path:
        """Where runs leave their results."""
        return belongs_to_user(self.root / self.artifacts.folder)

    @property
    def build_folder(self) -> Path:
        """Where built drivers, the test certificate and the agent's zipapp are kept between runs."""
        return belongs_to_user(self.root / "build")

    @property
    def build_lock(self) -> Path:
        """Held by the process that writes into the build folder: two runs may start in the same second."""
        return self.build_folder / ".lock"


def home() -> Path:
    """The bench's own state: images, downloads, live machines. `WINVM_HOME`, else `~/.cache/winvm`.

    Under sudo it is that of the user who called it, who then finds the images; machines stay root's.
    """
    named = os.environ.get("WINVM_HOME")
    if named:
        return belongs_to_user(Path(named).expanduser().resolve(), "runs", "smoke")
    if user := invoking_user():
        return belongs_to_user(user.home / ".cache" / "winvm", "runs", "smoke")
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "winvm"


def nearest(start: Path) -> Path | None:
    """The nearest winvm.toml in `start` or a folder above it; None without one.

    Raises:
        ConfigurationError: another user may have put it there.
    """
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            require_trusted(folder / FILE_NAME)
            return folder / FILE_NAME
    return None


def find(start: Path, option: str = "--config") -> Path:
    """As `nearest`, but there must be one. option: what names another, as the message says it.

    Raises:
        ConfigurationError: there is none, or another user may have put it there.
    """
    if found := nearest(start):
        return found
    raise ConfigurationError(
        f"No {FILE_NAME} in {start} or any folder above it.",
        remedy=f"Run winvm inside a project that has one, name it by {option}, or write one: `winvm init` "
        "beside a driver that you have, `winvm new-driver NAME` for a new one.",
    )


def load(path: Path) -> Config:
    """Reads and validates one file.

    Raises:
        ConfigurationError: unreadable, not TOML, or a key or value is wrong; names all of them.
    """
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ConfigurationError(
                f"{path} is larger than {LARGEST_FILE} bytes.", remedy="Name a winvm.toml."
            )
        document = tomllib.loads(content.decode("utf-8-sig"))  # editors of Windows write a BOM
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}.",
            remedy="Save it as UTF-8; `>` of Windows PowerShell writes UTF-16.",
        ) from error
    except RecursionError as error:
        raise ConfigurationError(
            f"{path} nests its values too deeply.", remedy="`winvm init` writes one that explains every key."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} is not valid TOML: {error}.", remedy="Correct that line."
        ) from error
    if "root" in document:
        raise ConfigurationError(f"{path}: unknown key 'root'.", remedy="Remove it.")
    try:
        return Config(**document, root=path.resolve().parent)
    except ValidationError as error:
        wrong = "; ".join(f"{_place(problem)}: {_wrong(problem)}" for problem in error.errors())
        raise ConfigurationError(
            f"{path}: {wrong}.", remedy="`winvm init` writes one that explains every key."
        ) from error


def _place(problem: ErrorDetails) -> str:
    """The key's path, such as `driver.builds`."""
    return ".".join(str(part) for part in problem["loc"])


def _wrong(problem: ErrorDetails) -> str:
    """What is wrong with it; for an unknown key, also the most similar known key."""
    if problem["type"] != "extra_forbidden":
        return problem["msg"]
    *above, key = (str(part) for part in problem["loc"])
    fields: Iterable[str] = Config.model_fields
    for name in above:
        section = Config.model_fields[name].annotation if name in Config.model_fields else None
        fields = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else ()
    like = difflib.get_close_matches(key, fields, 1)
    return f"unknown key{f' (did you mean {like[0]}?)' if like else ''}"
