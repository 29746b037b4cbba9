"""The options of an upload: those of its profile, and those given beside it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.core.files import File

from products.catalogue import CatalogueError, read_head
from products.lifecycle.ready_made import ready_made_profile
from products.models import Profile, RunOrigin
from products.models.files import storage_checked
from products.models.recipes import recipe_problems
from products.models.request import Request


class OptionsRefused(Exception):
    """Options that are wrong together, or a profile that does not exist: a sentence by option."""

    def __init__(self, problems: dict[str, str], code: str = "invalid") -> None:
        super().__init__(problems)
        self.problems = problems
        self.code = code


def choose_options(
    user: User | AnonymousUser,
    file: "File[bytes]",
    given: Mapping[str, Any],
    profile: str | None = None,
) -> tuple[Profile | None, dict[str, Any]]:
    """Return the profile of an upload, and its options: those of the profile, replaced by those `given`.

    `profile` is as in `choose_profile`. Raises OptionsRefused.
    """
    chosen = choose_profile(user, file, profile, **_as_read(given))
    options = {**(chosen.upload_options if chosen else {}), **given}
    check_options(options)
    return chosen, options


def choose_profile(
    user: User | AnonymousUser,
    file: "File[bytes] | None",
    wanted: str | None = None,
    *,
    encoding: str = "",
    sheet: str = "",
) -> Profile | None:
    """Return the profile with the name or id `wanted`; none for "". Raises OptionsRefused if there is none.

    If `wanted` is None, return the newest profile whose header is that of the file, read with this encoding
    and sheet or with those of the profile. The user's own profiles come before published ones.
    """
    profiles = Profile.objects.usable_by(user)
    if wanted is None:
        return (
            _with_header(profiles.exclude(header_hash="").defer("header"), file, encoding, sheet)
            if file
            else None
        )
    if not wanted:
        return None
    if found := profiles.named(wanted):
        return found
    sentence = f"There is no profile “{wanted[:100]}”. Use the name or the id of one of your profiles."
    raise OptionsRefused({"profile": sentence}, "unknown_profile")


def choose_offered(
    user: User | AnonymousUser, file: "File[bytes] | None", wanted: str | None = None
) -> Profile | None:
    """Return the profile `wanted` of those that forms offer: a ready-made one, or one of `choose_profile`.

    A ready-made one is not stored; a Request that is submitted with it has its options and no profile.
    """
    return ready_made_profile(wanted) or choose_profile(user, file, wanted)


@storage_checked()  # a temporary file may find no room
def _with_header(profiles: Any, file: "File[bytes]", encoding: str, sheet: str) -> Profile | None:
    hashes: dict[tuple[str, str], str] = {}  # by encoding and sheet
    for profile in profiles:
        options = profile.options
        read_as = encoding or options.get("encoding", ""), sheet or options.get("sheet", "")
        if read_as not in hashes:
            hashes[read_as] = ""
            with suppress(CatalogueError):  # whoever reads the file reports it
                hashes[read_as] = read_head(file, encoding=read_as[0], sheet=read_as[1]).header_hash
        if hashes[read_as] == profile.header_hash:
            found: Profile = profile
            return found
    return None


def usual_options(user: User) -> dict[str, Any]:
    """Return the options with which a user's forms begin: the last used ones of a user without profiles."""
    if Profile.objects.usable_by(user).exists():
        return {}
    own = Request.objects.present().filter(owner=user).exclude(run_by=RunOrigin.FEED)
    latest = own.order_by("-created_at").first()
    return {**latest.recipe_options, "strict": latest.strict} if latest else {}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise OptionsRefused for options of pictures that are right alone but not together."""
    if problems := recipe_problems({**Request().recipe_options, **options}):
        raise OptionsRefused(problems)


def _as_read(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: options.get(name) or "" for name in ("encoding", "sheet")}
