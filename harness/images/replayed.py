"""The guest image that a bundle's crash happened in: the very one, or a clear word why not."""

from __future__ import annotations

from pathlib import Path

from harness.errors import ConfigurationError
from harness.images import base, wine
from harness.images.base import BaseImage
from harness.images.inputs import gather
from harness.journal import Journal


def replay_image(digest: str, home: Path, journal: Journal, *, any_image: bool) -> BaseImage:
    """The image of this digest if it is here or this winvm makes it; otherwise today's, if that will do.

    Raises:
        ConfigurationError: it cannot be had, and no other is wanted.
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
