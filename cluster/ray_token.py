"""Makes Ray's token where there is none, and checks that only its owner can read it.

Type it before `ray up` or `ray start`: a token that `ray get-auth-token --generate` makes, others can read.

    python -m cluster.ray_token
    python -m cluster.ray_token --no-make    on a worker, whose token must be the head's
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from larvae import command_line
from larvae.errors import InvalidInputError
from sweeps.driver.tokens import VARIABLE, find_or_make_token, find_token, how_to_read_token


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenOptions:
    """The options of the command."""

    make: bool = True
    """Make a token where there is none."""
    show: bool = False
    """Print the token itself, and nothing else."""


def run(arguments: Sequence[str]) -> int:
    """Parse a command line; make or find the token, and tell where it is."""
    options = command_line.parse(lambda: tyro.cli(TokenOptions, args=list(arguments), description=__doc__))
    token = find_or_make_token() if options.make else find_token()
    if token is None:
        raise InvalidInputError("Ray's token must be the head's, got none: copy the head's ~/.ray/auth_token here")
    if options.show:
        print(token.value)
    else:
        print(f"Ray's token: {token.path or VARIABLE}, for you alone; `{how_to_read_token()}` prints it")
    return 0


if __name__ == "__main__":
    sys.exit(command_line.run(lambda: run(sys.argv[1:])))
