#!/usr/bin/python3
"""
Start as root, then become somebody else: what php-fpm, gosu and su-exec do in many images.

``as_user.py 33 PROGRAM…`` drops all groups, becomes user and group 33 and runs the program in its own place. It is
here to show that such an image works over a private socket: the groups that a container was given are gone.
"""

import os
import sys


def main():
    """Drop and run, or end with 2 and the reason."""
    if len(sys.argv) < 3 or not sys.argv[1].isdigit() or int(sys.argv[1]) == 0:
        print("usage: as_user.py UID PROGRAM [ARGUMENT...], UID above 0", file=sys.stderr)
        sys.exit(2)
    uid, program = int(sys.argv[1]), sys.argv[2:]
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except PermissionError as error:
        print(
            f"as_user.py: cannot become {uid}: {error}; start the container as root with the capabilities "
            "SETUID and SETGID",
            file=sys.stderr,
        )
        sys.exit(2)
    os.execv(program[0], program)  # noqa: S606  this is what the program is for


if __name__ == "__main__":
    main()
