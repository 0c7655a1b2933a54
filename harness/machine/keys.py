"""Names of keys, and the keys that type a text, as scan codes of a PC keyboard with the US layout.

Scan codes are those of set 1; the codes that begin with E0 have bit 7 set instead, as RFB's QEMU extended key
event has them.
"""

from __future__ import annotations

from harness.errors import ConfigurationError

Chord = tuple[int, ...]
"""Keys that are held together, pressed from left to right."""

_ROWS = {2: "1234567890-=", 16: "qwertyuiop[]", 30: "asdfghjkl;'`", 44: "zxcvbnm,./"}
"""Keys that type a character, by the scan code of the first key of each row."""
_CHARACTERS = {key: first + offset for first, row in _ROWS.items() for offset, key in enumerate(row)} | {
    "\\": 43,
    " ": 57,
    "\t": 15,
    "\n": 28,
}
_SHIFTED = dict(zip('!@#$%^&*()_+{}:"~|<>?', "1234567890-=[];'`\\,./", strict=True))
_SHIFT = 42
KEYS = {
    **{key: code for key, code in _CHARACTERS.items() if key.isprintable() and key != " "},
    "esc": 1, "backspace": 14, "tab": 15, "enter": 28, "ctrl": 29, "shift": _SHIFT, "alt": 56, "space": 57,
    "capslock": 58, **{f"f{number}": 58 + number for number in range(1, 11)}, "f11": 87, "f12": 88,
    "print": 0xB7, "altgr": 0xB8, "home": 0xC7, "up": 0xC8, "pageup": 0xC9, "left": 0xCB, "right": 0xCD,
    "end": 0xCF, "down": 0xD0, "pagedown": 0xD1, "insert": 0xD2, "delete": 0xD3, "win": 0xDB, "menu": 0xDD,
    "plus": 13,
}  # fmt: skip
"""Name -> scan code. `plus` is the key of `=`: `+` separates the names of a chord."""


def chord(names: str) -> Chord:
    """The keys of `shift+f10`; raises `ConfigurationError` for a name that is no key's."""
    found = []
    for name in names.lower().split("+"):
        if name not in KEYS:
            raise ConfigurationError(
                f"{name!r} in {names!r} is no key.",
                remedy=f"Join names with +, as in shift+f10. Keys: {' '.join(KEYS)}",
            )
        found.append(KEYS[name])
    return tuple(found)


def typed(text: str) -> list[Chord]:
    """The keys that type a text on the US layout, one chord for each character.

    Raises:
        ConfigurationError: the layout has no key for a character.
    """
    found: list[Chord] = []
    for character in text.replace("\r\n", "\n"):
        key = _SHIFTED.get(character, character.lower())
        if not character.isascii() or key not in _CHARACTERS:
            raise ConfigurationError(
                f"No key of the US layout types {character!r}.", remedy="Type ASCII text, or use a viewer."
            )
        shifted = character in _SHIFTED or character.isupper()
        found.append((_SHIFT, _CHARACTERS[key]) if shifted else (_CHARACTERS[key],))
    return found
