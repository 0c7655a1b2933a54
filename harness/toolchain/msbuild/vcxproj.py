"""Reads a driver's sources from a .vcxproj or .sln, for one configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.display.suggestion import did_you_mean
from harness.errors import BuildError
from harness.toolchain.clang.sources import SUFFIXES, DriverSources, Unit, is_debug, library
from harness.toolchain.msbuild.document import read_document
from harness.toolchain.msbuild.evaluation import ABSENT, Evaluation, Item
from harness.toolchain.msbuild.paths import resolve
from harness.toolchain.msbuild.solution import projects_of

PLATFORM = "x64"
REFERENCE_LIMIT = 50
_TOOLS = dict.fromkeys(
    (
        *(
            "VCTargetsPath",
            "VCTargetsPath10",
            "VCTargetsPath11",
            "UserRootDir",
            "VCInstallDir",
            "WDKContentRoot",
        ),
        *("DDK_INC_PATH", "DDK_LIB_PATH", "KM_IncludePath", "KIT_SHARED_INC_PATH", "SDK_INC_PATH"),
        *("SDK_LIB_PATH", "CRT_INC_PATH", "WindowsSdkDir", "WindowsSDK_IncludePath", "VC_IncludePath"),
        *("IFSKIT_INC_PATH", "MINWIN_PRIV_SDK_INC_PATH", "UM_IncludePath", "UCRTContentRoot"),
    ),
    ABSENT,
)
"""Properties of Visual Studio and of the WDK that name folders this host does not have."""
_VERSIONS = {
    "VisualStudioVersion": "17.0",
    "TargetPlatformVersion": "10.0.26100.0",
    "MSBuildToolsVersion": "Current",
    "OS": "Windows_NT",
}
_KINDS = {"clcompile": "", "masm": "asm", "resourcecompile": "rc", "messagecompile": "mc"}
_STANDARDS = {
    "stdcpp14": "gnu++14",
    "stdcpp17": "gnu++17",
    "stdcpp20": "gnu++20",
    "stdcpp23": "gnu++23",
    "stdcpplatest": "gnu++23",
    "stdc11": "gnu11",
    "stdc17": "gnu17",
    "stdclatest": "gnu17",
}


def project_sources(file: Path, name: str, build: str) -> DriverSources:
    """The sources of the driver `name` as a project or solution lists them.

    Args:
        file: a `.vcxproj`, a `.sln`, or a folder with one of them.
        name: the driver's name; chooses among the driver projects of a solution.
        build: names the configuration; case does not matter.

    Raises:
        BuildError: a file cannot be read, no project builds a driver, or none has such a configuration.
    """
    file = _project_file(file.resolve())
    solution = file if file.suffix.lower() == ".sln" else None
    project = _driver_of(file, name, build) if solution else file
    root = (solution or project).parent
    found = _evaluate(project, root, build)
    seen = {project}
    evaluations = [found, *_references(found, root, build, seen)]
    units = tuple(unit for each in evaluations for unit in _units(each))
    if not units:
        raise BuildError(
            f"{project} names no source file for the configuration {found.property('Configuration')}.",
            remedy="Name the driver's own .vcxproj in driver.project.",
        )
    link = found.definitions.get("link", {})
    entry = link.get("entrypointsymbol", "")
    return DriverSources(
        units,
        tuple(_libraries(evaluations)),
        "DriverEntry" if entry in ("", "GsDriverEntry") else entry,
        _debug(found),
        tuple(dict.fromkeys(note for each in evaluations for note in each.notes)),
    )


def _project_file(file: Path) -> Path:
    """The project or solution file; in a folder, the only one."""
    if not file.is_dir():
        return file
    for suffix in (".vcxproj", ".sln"):
        found = sorted(path for path in file.iterdir() if path.suffix.lower() == suffix)
        if len(found) == 1:
            return found[0]
        if found:
            raise BuildError(
                f"{file} has several projects: {', '.join(path.name for path in found)}.",
                remedy="Name one of them in driver.project of winvm.toml.",
            )
    raise BuildError(f"{file} has no .vcxproj and no .sln.", remedy="Correct driver.project in winvm.toml.")


def _driver_of(solution: Path, name: str, build: str) -> Path:
    """The project that builds the driver: the only driver project, or the one with the driver's name."""
    projects = projects_of(solution)
    drivers = {
        title: path for title, path in projects.items() if is_driver(_evaluate(path, solution.parent, build))
    }
    if len(drivers) == 1:
        return next(iter(drivers.values()))
    for title, path in drivers.items():
        if title.lower() == name.lower():
            return path
    if not drivers:
        raise BuildError(
            f"None of the projects of {solution} builds a driver: {', '.join(projects)}.",
            remedy="Name the driver's .vcxproj in driver.project.",
        )
    raise BuildError(
        f"{solution} builds {len(drivers)} drivers, and none is called {name}: {', '.join(drivers)}.",
        remedy="Name the .vcxproj of one in driver.project, or give driver.name the name of one.",
    )


def is_driver(found: Evaluation) -> bool:
    """Whether a project builds a kernel-mode driver."""
    if found.property("ConfigurationType").lower() == "driver":
        return True
    if found.property("DriverType") and found.property("DriverType").upper() != "UMDF":
        return found.property("ConfigurationType").lower() not in ("application", "dynamiclibrary")
    link = found.definitions.get("link", {})
    return link.get("subsystem", "").lower() == "native" or link.get("driver", "").lower() in (
        "driver",
        "wdm",
    )


def is_driver_project(project: Path, build: str) -> bool:
    """Whether a .vcxproj builds a kernel-mode driver.

    Raises:
        BuildError: the project cannot be read.
    """
    return is_driver(_evaluate(project.resolve(), project.parent.resolve(), build))


def project_title(project: Path, build: str) -> str:
    """What the project's result is called, without a suffix.

    Raises:
        BuildError: the project cannot be read.
    """
    return _evaluate(project.resolve(), project.parent.resolve(), build).property("TargetName")


def configurations(project: Path) -> list[str]:
    """The configurations that a project declares for x64, or for any platform without one for x64."""
    pairs = [
        node.attributes.get("Include", "").partition("|")
        for group in read_document(project).children
        if group.tag == "ItemGroup"
        for node in group.children
        if node.tag == "ProjectConfiguration"
    ]
    x64 = [name for name, _, platform in pairs if platform.lower() == PLATFORM]
    return list(dict.fromkeys(x64 or [name for name, _, _ in pairs]))


def _configuration(project: Path, build: str) -> str:
    """The declared configuration of a build: the one of its name, else the last whose name contains it."""
    declared = configurations(project)
    for name in declared:
        if name.lower() == build.lower():
            return name
    for name in reversed(declared):
        if build.lower() in name.lower():
            return name
    if declared and not (is_debug(build) or build.lower() == "release"):
        raise BuildError(
            f"{project} has no configuration {build}; it has {', '.join(declared)}."
            f"{did_you_mean(build, declared)}",
            remedy="Name the configurations in driver.builds of winvm.toml.",
        )
    return build.capitalize()  # it may be declared in an imported file


def _evaluate(project: Path, root: Path, build: str) -> Evaluation:
    folder = f"{project.parent}/"
    return Evaluation(
        project,
        {
            **_TOOLS,
            **_VERSIONS,
            "ProjectDir": folder,
            "ProjectPath": str(project),
            "ProjectName": project.stem,
            "TargetName": project.stem,
            "MSBuildProjectName": project.stem,
            "MSBuildProjectDirectory": str(project.parent),
            "MSBuildProjectFullPath": str(project),
        },
        {
            "Configuration": _configuration(project, build),
            "Platform": PLATFORM,
            "SolutionDir": f"{root}/",
        },
    )


def _references(found: Evaluation, root: Path, build: str, seen: set[Path]) -> Iterator[Evaluation]:
    """The static libraries that a project links, directly or indirectly; their sources are compiled too."""
    for item in found.of_kind("projectreference"):
        if item.path in seen or not item.path.is_file() or len(seen) > REFERENCE_LIMIT:
            continue
        seen.add(item.path)
        other = _evaluate(item.path, root, build)
        if other.property("ConfigurationType").lower() == "staticlibrary":
            yield other
            yield from _references(other, root, build, seen)


def _debug(found: Evaluation) -> bool:
    return found.property("UseDebugLibraries").lower() == "true" or is_debug(found.property("Configuration"))


def _units(found: Evaluation) -> Iterator[Unit]:
    for item in found.items:
        language = _KINDS.get(item.kind)
        if language is None or item.metadata.get("excludedfrombuild", "").lower() == "true":
            continue
        language = language or _language(item)
        if language == "mc" and item.path.suffix.lower() != ".mc":
            found.notes.append(f"{item.path.name} is an event manifest; winvm makes no header from it")
            continue
        if not language:
            found.notes.append(f"{item.path.name} is in a language that winvm does not compile")
            continue
        yield Unit(
            item.path,
            language,
            tuple(_includes(found, item)),
            tuple(_defines(item.metadata.get("preprocessordefinitions", ""))),
            tuple(_words(item.metadata.get("undefinepreprocessordefinitions", ""))),
            tuple(_words(item.metadata.get("forcedincludefiles", ""))),
            _STANDARDS.get(_standard(item, language).lower(), ""),
        )


def _language(item: Item) -> str:
    named = item.metadata.get("compileas", "").lower()
    if named in ("compileasc", "compileascpp"):
        return "c" if named == "compileasc" else "c++"
    return SUFFIXES.get(item.path.suffix.lower(), "")


def _standard(item: Item, language: str) -> str:
    return item.metadata.get("languagestandard" if language == "c++" else "languagestandard_c", "")


def _includes(found: Evaluation, item: Item) -> Iterator[Path]:
    """Include folders that exist here; those of Visual Studio and of the WDK are left out."""
    listed = f"{item.metadata.get('additionalincludedirectories', '')};{found.property('IncludePath')}"
    base = found.project.parent
    paths = (resolve(base, text) for text in _words(listed) if ABSENT not in text)
    yield from (path for path in dict.fromkeys([*paths, base]) if path.is_dir())


def _defines(listed: str) -> Iterator[str]:
    return (word for word in _words(listed) if word[:1].isalpha() or word[:1] == "_")


def _libraries(evaluations: Iterable[Evaluation]) -> Iterator[str | Path]:
    for found in evaluations:
        listed = found.definitions.get("link", {}).get("additionaldependencies", "")
        for word in _words(listed):
            yield library(
                found.project.parent, str(resolve(found.project.parent, word)) if ABSENT not in word else word
            )


def _words(listed: str) -> Iterator[str]:
    return (word.strip() for word in listed.split(";") if word.strip())
