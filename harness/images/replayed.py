"""Finds the image that a bundle's crash happened in, or raises ConfigurationError with the reason."""

from __future__ import annotations

from pathlib import Path

from harness.errors import ConfigurationError
from harness.images import base, wine
from harness.images.base import BaseImage
from harness.images.inputs import gather
from harness.journal import Journal


def replay_image(digest: str, home: Path, journal: Journal, *, any_image: bool) -> BaseImage:
    """The image of this digest, if it is here or this winvm makes it; with `any_image`, else today's image.

    Raises:
        ConfigurationError: this winvm makes another image, and `any_image` is not set.
        ImageError: it cannot be built.
    """
    for image in base.list_images(home):
        if image.digest == digest:
            return image
    today = gather().digest
    if today != digest and not any_image:
        raise ConfigurationError(
            f"The crash happened in guest image {digest[:12]}; this winvm makes {today[:12]}.",
            remedy="Use the winvm that made the bundle, or replay it in today's image: --any-image",
        )
    return wine.ensure(home, journal)
