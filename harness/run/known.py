"""What is known of a profile's guest before it runs: the findings in the manifest of its image."""

from __future__ import annotations

from harness.guests.registry import flavour_of
from harness.host.resources import vm_folder
from harness.project import config as configuration
from harness.project import measured
from harness.project.measured import Measured
from harness.project.profile import Profile


def of_present_image(profile: Profile) -> Profile:
    """The profile without what the image of its next run lacks; the same if that was never probed.

    Builds and boots nothing.
    """
    names = {profile.guest, profile.name, getattr(profile, "image_profile", profile).name}
    for image in flavour_of(profile).stored(configuration.home()):
        if (
            image.present
            and image.made_of in names
            and (found := measured.read(image.folder / "manifest.json"))
        ):
            return measured.limited(profile, found)
    return profile


def expected(profile: Profile) -> Profile:
    """As `of_present_image`, or else by what was recorded of another image of this flavour.

    For what a person reads; no scenario is skipped by it.
    """
    known = of_present_image(profile)
    if known is not profile:
        return known
    try:
        recorded = (vm_folder() / "measured" / f"{profile.guest}.json").read_bytes()
    except OSError:
        return profile
    return measured.limited(profile, Measured.model_validate_json(recorded))
