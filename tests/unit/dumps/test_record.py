"""A record is a frozen dataclass in everything but the time that its declaration takes."""

from __future__ import annotations

import dataclasses
import pprint

import pytest

from harness.dumps.record import record


@record
class Point:
    """With a default and a property."""

    x: int
    y: int = 2
    name: str = ""

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True)
class Model:
    x: int
    y: int = 2
    name: str = ""


def test_it_is_made_compared_hashed_and_shown_like_a_dataclass() -> None:
    assert Point(1) == Point(1, 2) == Point(x=1, y=2, name="") != Point(1, 3)
    assert [Point(1)] != [Model(1)]  # type: ignore[comparison-overlap]
    assert len({Point(1), Point(1, 2), Point(2)}) == 2
    assert repr(Point(1, name="a")) == repr(Model(1, name="a")).replace("Model", "Point")
    assert Point(3).sum == 5
    match Point(7, 8):
        case Point(x, y):
            assert (x, y) == (7, 8)


def test_the_functions_for_dataclasses_take_it() -> None:
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert dataclasses.asdict(Point(1, name="a")) == dataclasses.asdict(Model(1, name="a"))
    fields = [(field.name, field.type) for field in dataclasses.fields(Point)]
    assert fields == [(field.name, field.type) for field in dataclasses.fields(Model)]
    assert dataclasses.is_dataclass(Point)


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, "", 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})], ids=str
)
def test_wrong_arguments_are_refused_as_a_dataclass_refuses_them(
    values: tuple[int, ...], named: dict[str, int]
) -> None:
    for made in (Point, Model):
        with pytest.raises(TypeError):
            made(*values, **named)  # type: ignore[arg-type]


def test_it_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.x
    assert point == Point(1)


@record
class Named(Point):
    """A record that inherits from another."""

    colour: str = "red"


def test_a_record_inherits_fields_and_methods() -> None:
    named = Named(1, colour="blue")
    assert (named.x, named.y, named.colour, named.sum) == (1, 2, "blue", 3)
    assert repr(named) == "Named(x=1, y=2, name='', colour='blue')"
    assert [named] != [Point(1)]
    assert dataclasses.asdict(named) == {"x": 1, "y": 2, "name": "", "colour": "blue"}


def test_pprint_prints_it() -> None:
    assert pprint.pformat([Point(1), Point(2)], width=5).count("Point(x=") == 2
