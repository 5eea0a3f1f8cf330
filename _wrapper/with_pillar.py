"""
The tree's execution functions over salt-ssh: called with the pillar that the master has made of the host.

By itself salt-ssh hands pillar to states only. A function that is called by hand, or by an SLS that is rendered, would
find none and take the host for one that no master serves. So each of our execution modules has a link to this file
beside it, and salt-ssh calls what it finds here in place of the function itself.

.. code-block:: bash

    salt-ssh cell9 catalogue.check
    salt-ssh cell9 verify.host
"""

import ast
import tempfile
from pathlib import Path

import salt.client.ssh
from salt.client.ssh.wrapper import SSHCommandExecutionError, parse_ret
from salt.utils.json import dumps

NAME = __name__.rpartition(".")[2]
MODULE = Path(__file__).parent.resolve().parent / "_modules" / f"{NAME}.py"


def _calling(function):
    """A function that calls another one on the target."""

    def call(*arguments, **options):
        argv = [function, *map(dumps, arguments), *(f"{name}={dumps(value)}" for name, value in options.items())]
        if __context__["master_opts"]["argv"][0] == function:
            # By hand, with all that belongs to the answer: how it is shown, and the exit code.
            return {"local": parse_ret(*_on_target(argv))}
        # While SLS are rendered nothing changes yet, and several ask the same. Each call takes a second.
        answers = __context__.setdefault("with_pillar.answers", {})
        key = tuple(argv)
        if key not in answers:
            answers[key] = parse_ret(*_on_target(argv, disable_wipe=True), result_only=True)
        return answers[key]

    return call


def _on_target(argv, **options):
    # Beside the archive in which Salt sends the pillar of a state run, in a folder that only root can enter.
    pillar = f"{__opts__['thin_dir']}/pillar.json"
    single = salt.client.ssh.Single(
        __opts__,
        argv,
        fsclient=__context__["fileclient"],
        minion_opts={**__salt__.minion_opts, "pillar_roots": {}, "ext_pillar": [{"cmd_json": f"cat '{pillar}'"}]},
        **options,
        **__salt__.kwargs,
    )
    if not __context__.get("with_pillar.sent"):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # mode 0600, which scp keeps
            file.write(dumps(__pillar__.value()))
            file.flush()
            said, complaint, code = single.shell.send(file.name, pillar)
        if code:
            raise SSHCommandExecutionError(said, complaint, code)
        __context__["with_pillar.sent"] = True
    return single.cmd_block()


def _public():
    """The names of the module's public functions. Some end in _, since Python has something by that name."""
    found = [node.name for node in ast.parse(MODULE.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [name.rstrip("_") for name in found if not name.startswith("_")]


if MODULE.exists():
    __load__ = _public()
    globals().update({name: _calling(f"{NAME}.{name}") for name in __load__})
