"""Who may open the page, where not everybody may: names and passwords from the environment.

BRAIN_TUMOR_LOGIN=user:password
BRAIN_TUMOR_LOGIN_FILE=/run/secrets/login     a line user:password for each, as container secrets are handed over
"""

from __future__ import annotations

import os
from pathlib import Path

LOGIN = "BRAIN_TUMOR_LOGIN"
LOGIN_FILE = "BRAIN_TUMOR_LOGIN_FILE"


class LoginError(ValueError):
    """The login that was asked for cannot be set up; the message says what to change, and no password."""


def users() -> list[tuple[str, str]] | None:
    """Names and passwords; None where the page is open to all, which takes that neither variable is set.

    Raises:
        LoginError: a variable is set but names nobody, both are set, the file cannot be read, or a line is not
            user:password.
    """
    given, file = os.environ.get(LOGIN), os.environ.get(LOGIN_FILE)
    if given is None and file is None:
        return None
    if given is not None and file is not None:
        raise LoginError(f"Both {LOGIN} and {LOGIN_FILE} are set. Unset one of them.")
    source = LOGIN if given is not None else f"{LOGIN_FILE} ({file})"
    if given is None:
        try:
            given = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise LoginError(
                f"{source} cannot be read: {type(error).__name__}. Give a file of user:password."
            ) from None
    pairs = [_pair(line, source) for line in given.splitlines() if line.strip()]
    if not pairs:
        raise LoginError(f"{source} names nobody. Give user:password, or unset it to open the page to all.")
    if len(dict(pairs)) < len(pairs):
        raise LoginError(f"{source} names somebody twice. Leave one line for each user.")
    return pairs


def _pair(line: str, source: str) -> tuple[str, str]:
    # The form that asks for them strips the name, not the password.
    user, colon, password = line.partition(":")
    if not user.strip() or not colon or not password:
        raise LoginError(f"{source} has a line that is not user:password. Give a name, a colon and a password.")
    return user.strip(), password
