"""
Files that bin/bootstrap puts on a host: from a template of conf, written only if they change, whole at every moment.
"""

import string


def render(template, **values):
    """Return the text of a template (a path) of Salt's configuration, with ``values`` in its quoted scalars."""
    # In a quoted scalar of YAML, a quote is written twice.
    quoted = {name: str(value).replace("'", "''") for name, value in values.items()}
    return string.Template(template.read_text()).substitute(quoted)


def differs(path, text):
    """Return whether a file is not there, or has another text."""
    return not path.is_file() or path.read_text() != text


def write(path, text):
    """Write a file unless it has this text already; return whether it was written."""
    if not differs(path, text):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)
    return True


def point(link, target):
    """Make ``link`` a symbolic link to ``target`` in one step: at no moment is there none."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def leads_to(link, target):
    """Return whether ``link`` is a symbolic link to ``target``."""
    return link.is_symlink() and link.readlink() == target


def make_site(folder):
    """Make the place for a site's own settings and services."""
    (folder / "pillar").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # they may hold secrets
