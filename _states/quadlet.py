"""
What containers, pods, volumes, networks and images there must be, and that they run as declared.

Five states write files, each after Podman's generator has accepted it, and
start nothing. ``quadlet.running`` then brings what runs into line:

.. code-block:: yaml

    Notes has a network of its own:
      quadlet.network:
        - name: notes
        - definition:
            Network:
              Options: isolate=strict

    Notes has a pod:
      quadlet.pod:
        - name: notes
        - definition:
            Pod:
              Network: notes.network
              PublishPort: 127.0.0.1:8080:8080
        - require:
          - quadlet: Notes has a network of its own

    Notes has a container:
      quadlet.container:
        - name: notes-web
        - user: notes
        - socket_groups: [postgres-clients, valkey-clients]
        - definition:
            Container:
              Pod: notes.pod
              Image: localhost/notes:1
              Volume:
                - /run/postgresql:/run/postgresql:ro
                - /run/valkey:/run/valkey:ro
        - require:
          - quadlet: Notes has a pod

    Notes runs:
      quadlet.running:
        - units: [notes.pod]
        - require:
          - quadlet: Notes has a container

A definition is pure Quadlet (podman-systemd.unit(5)): section, key, value or
list of values, written as they are. systemd expands ``%`` and ``$`` in some of
them, ``%%`` and ``$$`` stand for the characters. Files and generated units can
be read by everybody on the host: a secret belongs into ``Secret=``, which holds only its name,
and never into ``Environment=``.

What a unit needs besides is added unless its definition says otherwise, and
shows in the diff: a pod outlives its containers (``--exit-policy=continue``) and
starts at boot; a container comes back after a crash or a clean end, for ever
(``Restart=always``, no start limit); one with a socket starts after the daemon
behind it, and does not restart along with it.

Two ways lead to a database's socket. ``socket_groups`` is the one for a container
that runs as the service's own user, which nobody else is, with all capabilities
dropped and no new privileges. Everything else is refused with the reason, and
takes a private socket (``private_socket.present``).

Names end up as systemd units: ``notes.pod`` as ``notes-pod.service``,
``notes-web.container`` as ``notes-web.service``. A name that would take the
place of another unit is refused. Templates (``@``) are not supported.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError


def pod(name, definition=None, source=None, context=None):
    """
    Ensure a pod is declared.

    name
        Name without suffix: ``notes`` becomes ``/etc/containers/systemd/notes.pod``.

    definition
        ``{section: {key: value or list}}``.

    source
        Instead of a definition: a Quadlet file, ``salt://...``, rendered with Jinja.

    context
        Variables for ``source``.

    Nothing starts or restarts here, see ``quadlet.running``. Fails, and writes
    nothing, if Podman's generator does not accept the file among the others.

    .. code-block:: yaml

        Notes has a pod:
          quadlet.pod:
            - name: notes
            - source: salt://services/notes/notes.pod.jinja
            - context:
                port: 8080
    """
    return _declared("pod", name, definition=definition, source=source, context=context)


def container(name, definition=None, source=None, context=None, user=None, socket_groups=None):
    """
    Ensure a container is declared.

    name, definition, source, context
        As for ``quadlet.pod``.

    user
        The host's user that the container runs as, by name, looked up when the
        state runs. By default the definition's or the image's own.

    socket_groups
        Client groups that open sockets to the container, by name. Their gids
        are looked up when the state runs, and must be the published facts.

    Fails, besides, if the container would reach a shared socket and could be
    somebody else than ``user`` there. With a socket, ``DropCapability=all`` and
    ``NoNewPrivileges=true`` are added.

    .. code-block:: yaml

        Notes has a container:
          quadlet.container:
            - name: notes-web
            - user: notes
            - socket_groups: [postgres-clients]
            - definition:
                Container:
                  Image: localhost/notes:1
                  Volume: /run/postgresql:/run/postgresql:ro
    """
    return _declared(
        "container",
        name,
        definition=definition,
        source=source,
        context=context,
        user=user,
        socket_groups=socket_groups,
    )


def volume(name, definition=None, source=None, context=None, user=None):
    """
    Ensure a volume is declared.

    name, definition, source, context
        As for ``quadlet.pod``.

    user
        The host's user that a new volume belongs to, by name.

    A volume that exists is not changed any more: that would take its removal,
    and data is never removed. The state then fails and says what to do.

    .. code-block:: yaml

        Notes has a volume:
          quadlet.volume:
            - name: notes-files
            - definition:
                Volume:
                  Label: service=notes
    """
    return _declared("volume", name, definition=definition, source=source, context=context, user=user)


def network(name, definition=None, source=None, context=None):
    """
    Ensure a network is declared.

    name, definition, source, context
        As for ``quadlet.pod``.

    .. code-block:: yaml

        Notes has a network of its own:
          quadlet.network:
            - name: notes
            - definition:
                Network:
                  Options: isolate=strict
    """
    return _declared("network", name, definition=definition, source=source, context=context)


def image(name, definition=None, source=None, context=None):
    """
    Ensure an image is declared, which containers name as ``Image=NAME.image``.

    It is fetched when it is first needed, with all the time that takes: a
    container that fetches its image itself has to within its start timeout.

    name, definition, source, context
        As for ``quadlet.pod``.

    .. code-block:: yaml

        The image of Wiki is declared:
          quadlet.image:
            - name: wiki
            - definition:
                Image:
                  Image: registry.example.org/wiki:1.2
    """
    return _declared("image", name, definition=definition, source=source, context=context)


def running(name, units):
    """
    Ensure units run, with exactly what is declared for them now.

    name
        A title.

    units
        Names of files, for example ``[notes.pod]``. The containers of a pod,
        and the networks, volumes and images that they name, belong to it and need not be listed.

    Restarted is exactly what runs with something else than is declared:
    another definition, an older image or an older value of a secret, or what
    is unhealthy. A changed pod restarts with its containers, a changed
    container alone; a changed network is made anew, with what uses it stopped meanwhile; a
    changed volume is refused. What is dead is started again, also behind a pod
    that systemd calls active.

    Fails before anything is stopped if an image cannot be had. With
    ``Notify=healthy`` in a container, it counts as started once it is healthy.

    .. code-block:: yaml

        Notes runs:
          quadlet.running:
            - units: [notes.pod]
    """
    try:
        changes = __salt__["quadlet.pending"](units, _renewed_secrets() if __opts__["test"] else [])
        if not changes:
            return __utils__["results.unchanged"](name, "All units run as declared")
        if __opts__["test"]:
            missing = __salt__["quadlet.missing_images"](units)
            hint = f"; not on this host yet: {', '.join(missing)}" if missing else ""
            return __utils__["results.planned"](name, changes, f"Units would be started or restarted{hint}")
        changes = __salt__["quadlet.apply"](units)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    return __utils__["results.changed"](name, changes, "All units run as declared")


def absent(name, units):
    """
    Ensure units neither run nor are declared: stopped, then deleted, then forgotten by systemd.

    name
        A title.

    units
        Names of files, for example ``[notes.pod, notes-web.container]``: here,
        each one is listed.

    Volumes and images stay on the host, data is never removed. Fails, and
    touches nothing, if a unit that stays needs one of them.

    .. code-block:: yaml

        Notes is gone:
          quadlet.absent:
            - units: [notes-web.container, notes.pod, notes.network]
    """
    try:
        changes = __salt__["quadlet.remnants"](units)
        if not changes:
            return __utils__["results.unchanged"](name, "There are no such units")
        if __opts__["test"]:
            __salt__["quadlet.check_removal"](units)
            for file in units:
                __salt__["quadlet.plan"](file, None)
            return __utils__["results.planned"](name, changes, "Units would be stopped and removed")
        changes = __salt__["quadlet.remove"](units)
        left = __salt__["quadlet.remnants"](units)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        return __utils__["results.failed"](name, f"removed, and still there: {', '.join(sorted(left))}", changes)
    return __utils__["results.changed"](name, changes, "Units are stopped and removed")


def _renewed_secrets():
    """Secrets that earlier states of this test run would renew: the real run finds what uses them out of date."""
    tags = [tag.split("_|-") for tag, past in __running__.items() if past["result"] is None]
    return [name for state, _, name, function in tags if (state, function) == ("secret", "present")]


def _declared(kind, name, **arguments):
    try:
        text = __salt__["quadlet.render"](kind, name, **arguments)
        file = f"{name}.{kind}"
        changes = __salt__["quadlet.diff" if __opts__["test"] else "quadlet.write"](file, text)
        if not changes:
            return __utils__["results.unchanged"](name, f"{file} is already so")
        if __opts__["test"]:
            __salt__["quadlet.plan"](file, text)
            return __utils__["results.planned"](name, changes, f"{file} would be written")
        left = __salt__["quadlet.diff"](file, text)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        return __utils__["results.failed"](name, f"{file} was written and still differs", changes)
    return __utils__["results.changed"](name, changes, f"{file} is written")
