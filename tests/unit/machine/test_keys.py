"""Names of keys and typed text, as scan codes."""

from __future__ import annotations

import string

import pytest

from harness.errors import ConfigurationError
from harness.machine.keys import KEYS, chord, typed


def test_a_chord_is_its_keys_in_the_order_they_are_pressed() -> None:
    assert chord("shift+f10") == (42, 68)
    assert chord("Ctrl+Alt+Delete") == (29, 56, 0xD3)
    assert chord("ctrl+plus") == (29, 13)


def test_every_printable_character_of_ascii_has_a_key() -> None:
    for character in string.printable.replace("\r", "").replace("\v", "").replace("\f", ""):
        assert typed(character)
    assert typed("aA1!|\\ \n") == [(30,), (42, 30), (2,), (42, 2), (42, 43), (43,), (57,), (28,)]
    assert typed("a\r\nb") == typed("a\nb")


def test_what_no_key_means_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match="'f13'") as caught:
        chord("shift+f13")
    assert "f12" in caught.value.remedy
    for text in ("ä", "\x1b", "\u212a"):  # the last is the sign of the unit kelvin, whose small letter is k
        with pytest.raises(ConfigurationError, match="US layout"):
            typed(text)


def test_scan_codes_are_bytes_and_no_two_keys_share_one() -> None:
    assert all(0 < code < 256 for code in KEYS.values())
    assert len(set(KEYS.values())) == len(KEYS) - 1  # plus and = are one key
