"""Visual Studio projects and solutions: what is read from them, and that a hostile one costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BuildError
from harness.toolchain.clang.compiler import compile_driver
from harness.toolchain.msbuild.condition import ConditionError, holds
from harness.toolchain.msbuild.evaluation import Evaluation
from harness.toolchain.msbuild.vcxproj import configurations, project_sources, project_title
from tests.unit.toolchain.clang.wdk_code import PLAIN

PROJECT = """<?xml version="1.0" encoding="utf-8"?>
<Project DefaultTargets="Build" xmlns="http://schemas.microsoft.com/developer/msbuild/2003">
  <ItemGroup Label="ProjectConfigurations">
    <ProjectConfiguration Include="Debug|x64"><Configuration>Debug</Configuration></ProjectConfiguration>
    <ProjectConfiguration Include="Release|x64"><Configuration>Release</Configuration></ProjectConfiguration>
    <ProjectConfiguration Include="Release|ARM64" />
  </ItemGroup>
  <Import Project="$(VCTargetsPath)\\Microsoft.Cpp.Default.props" />
  <PropertyGroup Condition="'$(Configuration)|$(Platform)'=='Debug|x64'" Label="Configuration">
    <UseDebugLibraries>true</UseDebugLibraries>
  </PropertyGroup>
  <PropertyGroup><ConfigurationType>Driver</ConfigurationType><DriverType>WDM</DriverType></PropertyGroup>
  <Import Project="Common.props" Condition="exists('common.props')" />
  <ItemDefinitionGroup>
    <ClCompile>
      <AdditionalIncludeDirectories>$(SharedFolder);..\\Inc;$(DDK_INC_PATH);
        %(AdditionalIncludeDirectories)</AdditionalIncludeDirectories>
      <PreprocessorDefinitions>MINE=1;_DRIVER;%(PreprocessorDefinitions)</PreprocessorDefinitions>
    </ClCompile>
    <Link>
      <AdditionalDependencies>%(AdditionalDependencies);$(DDK_LIB_PATH)\\fltMgr.lib;wdmsec.lib
      </AdditionalDependencies>
    </Link>
  </ItemDefinitionGroup>
  <ItemGroup>
    <ClCompile Include="Main.c" />
    <ClCompile Include="other.cpp">
      <PreprocessorDefinitions Condition="'$(Configuration)'=='Debug'">ONLY=1</PreprocessorDefinitions>
    </ClCompile>
    <ClCompile Include="never.c"><ExcludedFromBuild>true</ExcludedFromBuild></ClCompile>
    <ClCompile Include="arm.c" Condition="'$(Platform)'=='ARM64'" />
    <ResourceCompile Include="driver.rc" />
  </ItemGroup>
</Project>
"""
PROPS = """<Project><PropertyGroup>
  <SharedFolder>$(MSBuildThisFileDirectory)shared</SharedFolder>
</PropertyGroup></Project>
"""
SOLUTION = (
    "Microsoft Visual Studio Solution File, Format Version 12.00\r\n"
    'Project("{8BC9CEB8-8B4A-11D0-8D11-00A0C91BC942}") = '
    '"app", "app\\app.vcxproj", "{1}"\r\nEndProject\r\nProject("{8BC9CEB8-8B4A-11D0-8D11-00A0C91BC942}") = '
    '"driver", "Driver\\driver.vcxproj", "{2}"\r\nEndProject\r\n'
)
APPLICATION = (
    "<Project><PropertyGroup><ConfigurationType>Application</ConfigurationType></PropertyGroup></Project>"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "driver"
    for name in ("driver", "driver/shared", "inc", "app"):
        (tmp_path / name).mkdir()
    (folder / "driver.vcxproj").write_text(PROJECT)
    (folder / "common.props").write_text(PROPS)
    (folder / "main.c").write_text('#include "Shared.h"\n' + PLAIN + "int mine = MINE;\n")
    (folder / "shared" / "shared.h").write_text("#define SHARED 1\n")
    (folder / "other.cpp").write_text(
        '#include <ntddk.h>\nextern "C" int other;\nint other = SOME;\n'.replace("SOME", "1")
    )
    (folder / "driver.rc").write_text("#include <windows.h>\n")
    (tmp_path / "all.sln").write_text(SOLUTION)
    (tmp_path / "app" / "app.vcxproj").write_text(APPLICATION)
    return folder / "driver.vcxproj"


def test_sources_includes_defines_and_libraries(project: Path) -> None:
    sources = project_sources(project, "driver", "release")
    assert [unit.path.name for unit in sources.units] == ["main.c", "other.cpp", "driver.rc"]
    assert [unit.language for unit in sources.units] == ["c", "c++", "rc"]
    folder = project.parent
    assert sources.units[0].includes == (folder / "shared", folder.parent / "inc", folder)
    assert sources.units[0].defines == ("MINE=1", "_DRIVER")
    assert sources.libraries == ("fltmgr", "wdmsec")
    assert not sources.debug
    assert sources.notes == ()


def test_conditions_choose_the_configuration(project: Path) -> None:
    sources = project_sources(project, "driver", "debug")
    assert sources.debug
    assert sources.units[1].defines == ("ONLY=1",)
    assert configurations(project) == ["Debug", "Release"]
    with pytest.raises(BuildError, match="has no configuration nightly; it has Debug, Release"):
        project_sources(project, "driver", "nightly")
    with pytest.raises(BuildError, match=r"Did you mean Release\?"):
        project_sources(project, "driver", "Relaese")


def test_a_project_cannot_change_what_visual_studio_chose(project: Path) -> None:
    """The WDK's project templates set Configuration to Debug, which a build of another one ignores."""
    own = "<PropertyGroup Label='Globals'><Configuration>Debug</Configuration></PropertyGroup>"
    project.write_text(PROJECT.replace("<PropertyGroup", own + "<PropertyGroup", 1))
    sources = project_sources(project, "driver", "release")
    assert not sources.debug
    assert "ONLY=1" not in sources.units[1].defines
    assert project_sources(project, "driver", "debug").debug


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("$(ProjectName.Replace('driv','retriev'))64", "retriever64"),
        ("$(ProjectName.ToUpper())", "DRIVER"),
        ("$(ProjectName.Substring(2, 3))-$(ProjectName.Substring(4))", "ive-er"),
        ('$(ProjectName.Replace("driver", " a ").Length)', ""),
        ("$(ProjectName.TrimEnd('r'))", "drive"),
        ("$(ProjectName.Replace('driver', '$(Platform)'))", "x64"),
        ("$(ProjectName.Substring(70))!", "!"),
        ("$(ProjectName.Format(3))!", "!"),
        ("$(ProjectName.Replace('', 'x'))!", "!"),
    ],
)
def test_property_functions(tmp_path: Path, text: str, title: str) -> None:
    path = tmp_path / "driver.vcxproj"
    path.write_text(f"<Project><PropertyGroup><TargetName>{text}</TargetName></PropertyGroup></Project>")
    assert project_title(path, "release") == title


def test_a_solution_means_its_driver(project: Path) -> None:
    solution = project.parents[1] / "all.sln"
    assert project_sources(solution, "any", "release").units[0].path.name == "main.c"
    project.write_text(APPLICATION)
    with pytest.raises(BuildError, match="builds a driver: app, driver"):
        project_sources(solution, "any", "release")


def test_it_compiles(project: Path, tmp_path: Path) -> None:
    sources = project_sources(project, "driver", "release")
    assert compile_driver(sources, "driver", project.parent, tmp_path / "out").driver.is_file()


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("", True),
        ("'a'=='A'", True),
        ("'a' != 'a' or 'b' == 'b'", True),
        ("!('x'=='x') and 'y'=='y'", False),
        ("'16.0' >= '15.10' And '17' == '17.0'", True),
        ("Exists('there') and !exists('gone')", True),
        ("HasTrailingSlash('a\\')", True),
        ("true", True),
    ],
)
def test_conditions(condition: str, value: bool) -> None:
    assert holds(condition, lambda path: path == "there") is value


@pytest.mark.parametrize(
    "condition", ["'a'==", "'a' 'b'", "(" * 100 + ")" * 100, "f('x')", "'a'" * 10_000, "'"]
)
def test_malformed_conditions(condition: str) -> None:
    with pytest.raises(ConditionError):
        holds(condition, lambda _: False)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><Project>&b;</Project>'
FILE_ENTITY = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Project>&a;</Project>'
DOUBLING = (
    "<Project><PropertyGroup><A>aaaaaaaaaaaaaaaa</A>" + "<A>$(A)$(A)</A>" * 40 + "</PropertyGroup></Project>"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "document type declaration"),
        (FILE_ENTITY, "document type declaration"),
        ("<Project>" * 100, "more than"),
        (DOUBLING, "longer than"),
        ('<Project><Import Project="hostile.vcxproj"/></Project>', "imports more than"),
        ("not xml", "is not XML"),
        ("<Other/>", "is not an MSBuild project"),
        ("", "is not XML"),
    ],
)
def test_a_hostile_project(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hostile.vcxproj"
    path.write_text(text)
    with pytest.raises(BuildError, match=message):
        Evaluation(path, {})


def test_a_folder_without_a_project(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"has no \.vcxproj and no \.sln"):
        project_sources(tmp_path, "any", "release")
