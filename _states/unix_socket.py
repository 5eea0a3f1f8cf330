"""
What must be so of Unix sockets and the directories they lie in.

A client gets in because its group may search the directory and write to the
socket; nobody else does. That is why a directory here is 2750 and never 2770:
who may write in it may unlink the socket and bind another in its place. The
directory is setgid, so that a socket made later belongs to the client group
even if the daemon that makes it is not a member.

.. code-block:: yaml

    PostgreSQL's socket directory admits its clients:
      unix_socket.directory:
        - name: /run/postgresql
        - user: postgres
        - group: postgres-clients
        - tmpfiles: postgresql-common.conf
        - tmpfiles_lines:
          - d /var/log/postgresql 1775 root postgres - -

    The service notes reaches PostgreSQL and nobody else does:
      unix_socket.accessible:
        - name: /run/postgresql/.s.PGSQL.5432
        - user: notes
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

TMPFILES_FOLDER = "/etc/tmpfiles.d"
TMPFILES_HEAD = "# Written by Salt (unix_socket.directory). Changes made here are undone by the next run."


def directory(name, user, group, mode="2750", tmpfiles=None, tmpfiles_lines=None):
    """
    Ensure a socket directory exists and that only its client group can enter it.

    Where a daemon's unit makes the directory itself (``RuntimeDirectory=``),
    let the unit make it right, and use this state only on what no unit owns.

    name
        Absolute path of the directory. Its parent must exist.

    user
        Owner, by name. Looked up when the state runs.

    group
        Client group, by name. Looked up when the state runs, so that it may be
        created earlier in the same run.

    mode
        Octal digits. Refused if it lets others in or lets members write.

    tmpfiles
        Name of a file in ``/etc/tmpfiles.d`` which makes the directory at
        boot. A file of the same name in ``/usr/lib/tmpfiles.d`` no longer
        counts then, see tmpfiles.d(5): that is how a package's own idea of the
        directory is overridden. None (default) leaves booting alone.

    tmpfiles_lines
        Further lines for that file: what else the overridden one contained.

    Fails, naming the path and the reason, if ``name`` is relative, is a
    symbolic link or leads through one, or is not a directory; and if the user
    or the group does not exist when it is not test mode.

    .. code-block:: yaml

        The socket directory of wiki's search admits its clients:
          unix_socket.directory:
            - name: /run/wiki-search
            - user: wiki-search
            - group: wiki-search-clients
            - tmpfiles: wiki-search.conf
    """
    try:
        mode = __utils__["sockets.directory_mode"](mode)
        wanted = {"user": user, "group": group, "mode": mode}
        changes = _ownership_changes(name, "directory", wanted)
        boot_file, boot_text = _tmpfiles(name, user, group, mode, tmpfiles, tmpfiles_lines or [])
        boot_diff = __utils__["textfile.diff"](boot_file, boot_text) if boot_file else ""
        if boot_diff:
            changes[boot_file] = {"diff": boot_diff}
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} already admits {group} only")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"{name} would admit {group} only")
        if boot_diff:
            __utils__["textfile.write"](boot_file, boot_text)
        __salt__["unix_socket.make_directory"](name, user, group, mode)
        return _read_back(name, "directory", wanted, changes, f"{name} admits {group} only")
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))


def directory_absent(name, tmpfiles=None):
    """
    Ensure a socket directory is gone, now and at boot.

    Only an empty directory is removed: what is still in it belongs to a
    daemon, which has to be stopped first.

    name
        Absolute path of the directory.

    tmpfiles
        Name of the file in ``/etc/tmpfiles.d`` that ``unix_socket.directory``
        wrote. A file that it did not write is refused. A file of a package
        that was overridden counts again afterwards.

    .. code-block:: yaml

        The socket directory of wiki's search is gone:
          unix_socket.directory_absent:
            - name: /run/wiki-search
            - tmpfiles: wiki-search.conf
    """
    try:
        __utils__["sockets.path"](name)
        boot_file = _tmpfiles_path(tmpfiles) if tmpfiles else None
        changes = {}
        if boot_file and _is_ours(boot_file):
            changes[boot_file] = {"old": "present", "new": None}
        present = __salt__["unix_socket.stat"](name)
        _refuse_unless("directory", name, present)
        if present["type"] != "absent":
            changes[name] = {"old": "present", "new": None}
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} is already gone")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"{name} would be removed")
        if name in changes:
            _remove_directory(name)
        if boot_file and boot_file in changes:
            Path(boot_file).unlink()
        return __utils__["results.changed"](name, changes, f"{name} is gone")
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))


def socket(name, user, group, mode="0770"):
    """
    Ensure a socket that a daemon made belongs to its client group.

    A daemon that is restarted makes a new socket: let its own configuration
    give the right owner and mode, and this state repair what was changed
    since. A socket that is not there is an error, in test mode only a remark:
    nobody can say yet how its daemon will make it.

    name
        Absolute path of the socket.

    user, group
        Names, looked up when the state runs.

    mode
        Octal digits. Refused if it lets others connect.

    Fails, naming the path and the reason, if ``name`` is relative, is a
    symbolic link or leads through one, or is not a socket.

    .. code-block:: yaml

        Valkey's socket belongs to its clients:
          unix_socket.socket:
            - name: /run/valkey/valkey.sock
            - user: valkey
            - group: valkey-clients
    """
    try:
        mode = __utils__["sockets.socket_mode"](mode)
        wanted = {"user": user, "group": group, "mode": mode}
        changes = _ownership_changes(name, "socket", wanted)
        if changes.get("type"):
            if __opts__["test"]:
                return __utils__["results.unchanged"](name, f"{name} would be checked once its daemon has made it")
            return __utils__["results.failed"](name, f"no socket at {name}: does its daemon run, and listen there?")
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} already belongs to {user}:{group}")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"{name} would belong to {user}:{group}")
        __salt__["unix_socket.own"](name, user, group, mode)
        return _read_back(name, "socket", wanted, changes, f"{name} belongs to {user}:{group}")
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))


def accessible(name, user, outsider="nobody", groups=None):
    """
    Assert that a user gets into a socket and that an outsider does not.

    Both are tried by connecting as exactly their ids, see
    ``unix_socket.probe``. Nothing is ever changed. In test mode an earlier
    state of the run may still have to make true what is asserted: the present
    answer is reported, and it is no failure.

    name
        Absolute path of the socket.

    user
        Who must get in, by name. Not root.

    outsider
        Who must be refused, by name. None asserts nothing about outsiders.

    groups
        Supplementary groups of the user, by name, as a container gets them
        with ``--group-add``. By default those the system gives the user.

    .. code-block:: yaml

        The service notes reaches Valkey and nobody else does:
          unix_socket.accessible:
            - name: /run/valkey/valkey.sock
            - user: notes
            - groups:
              - valkey-clients
    """
    try:
        __utils__["sockets.path"](name)
        problems = _access_problems(name, user, outsider, groups)
    except SaltInvocationError as error:
        return __utils__["results.failed"](name, str(error))
    except CommandExecutionError as error:
        problems = [str(error)]
    claim = f"{user} gets into {name}" + (f" and {outsider} does not" if outsider else "")
    if not problems:
        return __utils__["results.unchanged"](name, claim)
    if __opts__["test"]:
        return __utils__["results.unchanged"](name, f"It would be asserted that {claim}. Now: {'; '.join(problems)}")
    return __utils__["results.failed"](name, "; ".join(problems))


def _access_problems(name, user, outsider, groups):
    problems = []
    inside = __salt__["unix_socket.probe_user"](name, user, groups)
    if inside["outcome"] != "allowed":
        problems.append(f"{user} does not get into {name}: {inside['outcome']}, {inside['detail']}")
    if outsider:
        outside = __salt__["unix_socket.probe_user"](name, outsider)
        if outside["outcome"] != "refused":
            problems.append(f"{outsider} is not refused at {name}: {outside['outcome']}, {outside['detail']}")
    return problems


def _ownership_changes(name, kind, wanted):
    """What has to change at a path, ``{key: {"old", "new"}}``; ``type`` is in it if nothing is there yet."""
    __utils__["sockets.path"](name)
    present = __salt__["unix_socket.stat"](name)
    _refuse_unless(kind, name, present)
    if present["type"] == "absent":
        present, wanted = {}, {"type": kind, **wanted}
    return {key: {"old": present.get(key), "new": new} for key, new in wanted.items() if present.get(key) != new}


def _refuse_unless(kind, name, present):
    if present["type"] not in (kind, "absent"):
        raise CommandExecutionError(f"{name} is a {present['type']}, not a {kind}: remove it, or name another path")
    real = str(Path(name).resolve())
    if real != name:
        raise CommandExecutionError(f"{name} leads through a symbolic link: write {real}")


def _read_back(name, kind, wanted, changes, comment):
    left = _ownership_changes(name, kind, wanted)
    if left:
        return __utils__["results.failed"](name, f"{name} was set and is different again: {left}", changes)
    return __utils__["results.changed"](name, changes, comment)


def _remove_directory(name):
    try:
        Path(name).rmdir()
    except OSError as error:
        left = ", ".join(sorted(entry.name for entry in Path(name).iterdir())) or error.strerror
        raise CommandExecutionError(f"{name} is still in use ({left}): stop its daemon first") from error


def _tmpfiles_path(tmpfiles):
    if Path(tmpfiles).name != tmpfiles or not tmpfiles.endswith(".conf"):
        raise SaltInvocationError(f"tmpfiles {tmpfiles!r} is not the name of a file that ends in .conf")
    return f"{TMPFILES_FOLDER}/{tmpfiles}"


def _tmpfiles(name, user, group, mode, tmpfiles, lines):
    """Path and text of the tmpfiles.d file, (None, None) without one."""
    if not tmpfiles:
        if lines:
            raise SaltInvocationError("tmpfiles_lines without tmpfiles: name the file they belong to")
        return None, None
    return _tmpfiles_path(tmpfiles), "\n".join([TMPFILES_HEAD, f"d {name} {mode} {user} {group} - -", *lines, ""])


def _is_ours(boot_file):
    text = __utils__["textfile.read"](boot_file)
    if text is not None and not text.startswith(TMPFILES_HEAD):
        raise CommandExecutionError(f"{boot_file} was not written by unix_socket.directory: look at it and remove it")
    return text is not None
