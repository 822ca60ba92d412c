"""What is said of the Hub: code -> English sentence, which the page translates by code, and an error of the client -> its code.

No message holds more of an error than its kind, so that no token is shown.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import logging
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cells.messages import Error, first_line

logging.set_verbosity_error()  # what the client would warn of either ends in a HubError or does no harm

ENGLISH = {
    "hub_bad_name": "{repo} is not the name of a repo; a name is USER/NAME, of letters, digits, '-', '_' and '.'.",
    "hub_no_revision": "{repo} has no such revision.",
    "hub_not_found": "{repo} does not exist, or you may not see it; check the name, or sign in with `hf auth login`.",
    "hub_unknown_user": "{repo}: the Hub does not know you; sign in with `hf auth login`.",
    "hub_forbidden": "{repo}: your token may not do this; it needs write access.",
    "hub_conflict": "{repo}: someone else changed it at the same moment; try again.",
    "hub_busy_for": "{repo}: the Hub takes no more requests for now; try again in {seconds} s.",
    "hub_busy": "{repo}: the Hub takes no more requests for now; try again later.",
    "hub_failed": "{repo}: the Hub answered with an error ({status}); try again later.",
    "hub_offline": "{repo}: HF_HUB_OFFLINE is set; unset it to reach the Hub.",
    "hub_is_public": "{repo} exists and is public; make it private on the Hub first, or leave out --private.",
    "hub_disk": "{repo}: {reason}.",
    "hub_unreachable": "{repo}: the Hub cannot be reached, or the transfer broke off; check the network, then try again.",
    "hub_pickle": "{repo} has its weights in pickle form only, which can hold programs; it cannot be used here.",
    "hub_no_weights": "{repo} has no {file}; it cannot be used here.",
    "hub_no_model": "{repo} has no {files}: it holds no model of this kind.",
    "hub_not_offered": "{model} is not offered any more; choose another model.",
    "hub_not_cached": "{model} is not on this disk any more; choose it again.",
    "hub_no_examples": "{repo} has no examples.",
    "pull_exists": "{folder} exists; --force replaces it, --out names another place.",
    "needs_clone": "{file} is missing: this command needs a clone of the repository; an installed package is not enough.",
    "list_unreadable": "{file} cannot be read: {reason}.",
    "list_not_text": '{file}: {name} must be a text, "USER/NAME" or "".',
    "needs_library": "This command needs the library {library}; `pip install -r {file}` installs it.",
    "card_broken": "{card}: its front matter cannot be read ({reason}); correct it, then try again.",
    "folder_broken": "{folder}: one of its files is damaged, or of another program ({reason}).",
    "folder_incomplete": "{folder} lacks {files}; a model folder is what `python -m train` leaves.",
    "check_failed": "{repo}: {library} cannot load it: {reason}.",
    "check_differs": "{repo}: {library} answers differently from AutoModelForImageClassification, by {gap}.",
    "text": "{text}",
}
BY_STATUS = {
    401: "hub_unknown_user",
    403: "hub_forbidden",
    404: "hub_not_found",
    409: "hub_conflict",
    412: "hub_conflict",
    429: "hub_busy",
}
DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR),  # of a folder that another process made meanwhile
)


class HubError(Error):
    """Something that the Hub or the disk refused."""

    sentences = ENGLISH


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """An error of the Hub or the disk inside this context becomes a HubError of one line."""
    try:
        yield
    except HubError:
        raise
    except (HTTPError, OSError, RuntimeError, HFValidationError) as error:
        raise _explained(repo_id, error) from None  # the cause may show headers, with the token in them


def _explained(repo_id: str, error: Exception) -> HubError:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, HFValidationError):
        return HubError("hub_bad_name", repo=repr(repo_id))
    if isinstance(error, RevisionNotFoundError):
        return HubError("hub_no_revision", repo=repo_id)
    if isinstance(error, RepositoryNotFoundError):
        return HubError("hub_not_found", repo=repo_id)
    if isinstance(error, LocalTokenNotFoundError):
        return HubError("hub_unknown_user", repo=repo_id)
    if status == 429 and (seconds := error.response.headers.get("Retry-After")):
        return HubError("hub_busy_for", repo=repo_id, seconds=seconds)
    if status in BY_STATUS:
        return HubError(BY_STATUS[status], repo=repo_id)
    if status is not None:
        return HubError("hub_failed", repo=repo_id, status=status)
    if isinstance(error, OfflineModeIsEnabled):
        return HubError("hub_offline", repo=repo_id)
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return HubError("hub_disk", repo=repo_id, reason=error.strerror)
    return HubError("hub_unreachable", repo=repo_id)


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """What a damaged file of a model folder raises inside this context becomes a HubError of one line."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise HubError("folder_broken", folder=folder, reason=f"{type(error).__name__}: {first_line(error)}") from error
