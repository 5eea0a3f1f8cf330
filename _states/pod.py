"""
The pod of a service: declared as a whole, started without waiting, waited for, rolled back, stopped, removed.

.. code-block:: yaml

    Service notes has its pod:
      pod.declared:
        - name: notes
        - units:
            - {kind: network, name: notes, definition: {Network: {Options: isolate=strict}}}
            - {kind: pod, name: notes, definition: {Pod: {Network: notes.network}}}
            - kind: container
              name: notes-web
              definition: {Container: {Pod: notes.pod, Image: "localhost/notes:1"}}
              user: notes

    Service notes is started:
      pod.started:
        - name: notes
        - files: [notes.pod]
        - require:
          - pod: Service notes has its pod

    Service notes is healthy:
      pod.healthy:
        - name: notes
        - files: [notes.pod]
        - url: http://127.0.0.1:20123/health
        - require:
          - pod: Service notes is started

All of a service's files carry its label, ``rick-infra.service=NAME``: that is
how files that are declared no more are found, and how nothing else is touched.

``started`` returns at once, so that all services of a run start side by side;
``healthy`` waits for one. A definition that does not become healthy is taken
back: files, timers, images and secrets of the last healthy generation are put
in its place, and it is not tried again before something of it changes.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

STARTED, PLANNED = "pod.started", "pod.planned"
SETTLE = 10  # seconds that a service which nobody has touched gets to answer again before it is restarted
ERRORS = (CommandExecutionError, SaltInvocationError)


def declared(name, units, timers=(), at_boot=True):
    """
    Ensure all Quadlet files and timers of a service are there.

    name
        Name of the service.

    units
        ``[{"kind", "name", "definition", "user", "socket_groups"}]``: what ``quadlet.network``, ``quadlet.pod``,
        ``quadlet.container`` and so on take. Names are that of the service, or begin with it and a dash.

        A container with ``Service: {Type: oneshot}`` in its definition is an init container: the others of its pod
        start once it has succeeded. With ``StartWithPod: false`` besides, it is what a timer starts.

    timers
        ``[{"name": "notes-cleanup", "schedule": "daily", "persistent": true}]``: a systemd timer for the container of
        that name. ``schedule`` is one or several calendar events (systemd.time(7)).

    at_boot
        False: nothing of it starts at boot.

    Nothing starts or stops here, the timers neither: see ``pod.started``.
    Fails, and writes nothing, if Podman's generator does not accept the files.

    .. code-block:: yaml

        Service notes has its pod:
          pod.declared:
            - name: notes
            - units:
                - {kind: pod, name: notes, definition: {Pod: {PublishPort: "127.0.0.1:20123:8080"}}}
                - kind: container
                  name: notes-web
                  definition: {Container: {Pod: notes.pod, Image: "localhost/notes:1"}}
                - kind: container
                  name: notes-cleanup
                  definition:
                    Container: {Pod: notes.pod, Image: "localhost/notes:1", Exec: cleanup, StartWithPod: false}
                    Service: {Type: oneshot}
            - timers:
                - {name: notes-cleanup, schedule: daily, persistent: true}
    """
    try:
        if __opts__["test"]:
            changes = __salt__["pod.plan"](name, units, timers, at_boot)
        else:
            changes = __salt__["pod.declare"](name, units, timers, at_boot)
        if not changes:
            return __utils__["results.unchanged"](name, f"The pod of {name} is already declared so")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"The pod of {name} would be declared so")
        left = __salt__["pod.differences"](name, units, timers, at_boot)
    except ERRORS as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        return __utils__["results.failed"](name, f"written, and still different: {', '.join(sorted(left))}", changes)
    return __utils__["results.changed"](name, changes, f"The pod of {name} is declared so")


def started(name, files, postgres=None, units=None, timers=(), rollback=False, server=None):
    """
    Ensure a service is about to run with exactly what is declared for it, and its timers are on. Waits for nothing.

    name
        Name of the service.

    files
        Its files, for example ``[notes.pod]``. What belongs to a pod need not be listed.

    postgres
        The service's database, by its name: it is dumped (``postgres_dump.dump``) before another image meets it.

    units, timers
        As for ``pod.declared``: what the service has besides is stopped and removed. None: nothing is.

    rollback
        Whether the last healthy generation is put back if it cannot be started.

    server
        Where the database is, if not on this host: a name of ``rick:postgresql:servers``.

    What is restarted is what ``quadlet.running`` would restart. Images are fetched before anything is stopped. Fails,
    and stops nothing, if one cannot be had or the dump fails.

    .. code-block:: yaml

        Service notes is started:
          pod.started:
            - name: notes
            - files: [notes.pod]
            - postgres: notes
    """
    try:
        changes = __salt__["pod.start_changes"](name, files, postgres, units, timers)
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} runs as declared")
        if __opts__["test"]:
            __context__.setdefault(PLANNED, set()).add(name)
            missing = __salt__["quadlet.missing_images"](files)
            hint = f"; not on this host yet: {', '.join(missing)}" if missing else ""
            return __utils__["results.planned"](name, changes, f"{name} would be started{hint}")
        done = __salt__["pod.start"](name, files, postgres, units, timers, server)
    except ERRORS as error:
        back = _put_back(name) if rollback and not __opts__["test"] else ""
        return __utils__["results.failed"](name, f"{error}{back}")
    dump = f"; its database is saved in {done['dump']}" if done["dump"] else ""
    return __utils__["results.changed"](name, done["changes"], f"{name} is being started{dump}")


def healthy(name, files, url=None, timeout=120, rollback=True, digest=None, values=None, ground=None, site=None):
    """
    Ensure a service is healthy: all units run, health commands succeed, and it answers over HTTP.

    name, files
        As for ``pod.started``.

    url
        ``http://127.0.0.1:PORT/PATH``, which must answer 2xx or 3xx. None: it is not asked.

    timeout
        Seconds, for all of it to become healthy.

    rollback
        Whether a definition that does not become healthy is taken back.

    digest
        Of the resolved definition, to know it again (``generation.refused``).

    values
        The service's composed environment values, as for ``secret.values_present``: they are taken back as well.

    ground
        What it stands on, as for ``generation.keep``: account, database, Valkey user, private sockets. Likewise.

    site
        Its site, None without one, for ``caddy.site_kept``.

    When it is healthy, it is kept as the last healthy generation. If it is not, and differs from that generation, the
    generation is put back and started, and the state fails with the reason. Without one, the first time, it is left as
    it is for a look. A service that nobody has changed is restarted.

    .. code-block:: yaml

        Service notes is healthy:
          pod.healthy:
            - name: notes
            - files: [notes.pod]
            - url: http://127.0.0.1:20123/health
            - timeout: 60
    """
    try:
        if __opts__["test"]:
            return _plan_healthy(name, files, url)
        found = __salt__["pod_health.look"](name, files, url)
        changes = {}
        if found:
            found, changes = _made_healthy(name, files, url, timeout, (values, ground))
        if not found:
            __salt__["generation.keep"](name, values, ground, site)
            if changes:
                return __utils__["results.changed"](name, changes, f"{name} is healthy again")
            return __utils__["results.unchanged"](name, f"{name} is healthy")
        since = __context__.get(STARTED, {}).get(name)
        reason = __salt__["pod_health.explain"](name, files, found, since)
        if rollback and __salt__["generation.differs"](name, values, ground):
            return _roll_back(name, url, timeout, digest, reason)
    except ERRORS as error:
        return __utils__["results.failed"](name, str(error))
    return __utils__["results.failed"](name, f"{name} is not healthy after {timeout} s\n{reason}", changes)


def refused(name, reason):
    """
    Say that a definition was taken back and is not tried again, and ensure the last healthy generation runs meanwhile.

    name
        Name of the service.

    reason
        What ``generation.refused`` answered.

    Always fails. To have it tried again, change it, or call ``salt-call generation.retry NAME``.

    .. code-block:: yaml

        Service notes is as declared:
          pod.refused:
            - name: notes
            - reason: notes-web.service answers 500
    """
    said = (
        f"{name}: this definition did not become healthy before, and is not tried again until it changes "
        f"(or: salt-call generation.retry {name}). The last healthy one"
    )
    changes = {}
    try:
        changes = __salt__["generation.deviations"](name)
        if not __opts__["test"]:
            __salt__["generation.restore"](name)
        files = __salt__["pod.files"](name)
        if __opts__["test"]:
            changes = {**changes, **__salt__["pod.start_changes"](name, files)}
        else:
            changes = {**changes, **__salt__["pod.start"](name, files)["changes"]}
    except ERRORS as error:
        return __utils__["results.failed"](name, f"{said} cannot run either: {error}\n{reason}", changes)
    now = "runs" if not changes else "would be put right" if __opts__["test"] else "is put right"
    return __utils__["results.failed"](name, f"{said} {now}.\n{reason}", changes)


def put_back(name):
    """
    Put back what a service runs with, as far as it is not that of its last healthy generation any more.

    name
        Name of the service. Without a generation there is nothing to go back to.

    For a run that fails before it starts anything: files, secrets, environment and what the service stands on are those
    of the generation again, so that a crash or a reboot starts what ran. The next run tries the new ones again.

    .. code-block:: yaml

        Service notes stays as it was:
          pod.put_back:
            - name: notes
            - onfail:
              - pod: Service notes has its pod
    """
    if __opts__["test"]:
        return __utils__["results.unchanged"](name, f"{name} would stay as it was")
    try:
        changes = __salt__["generation.restore"](name) if __salt__["generation.show"](name) else {}
    except ERRORS as error:
        return __utils__["results.failed"](name, f"what {name} ran with could not be put back: {error}")
    if not changes:
        return __utils__["results.unchanged"](name, f"{name} is as it was")
    return __utils__["results.changed"](name, changes, f"{name} is as it was: a restart starts what ran before")


def stopped(name, units=None, timers=()):
    """
    Ensure nothing of a service runs, its timers neither. Its files stay.

    name
        Name of the service.

    units, timers
        As for ``pod.declared``: what the service has besides is removed. None: nothing is.

    That it does not start at boot is for ``pod.declared`` to say: ``at_boot: false``.

    .. code-block:: yaml

        Service notes is stopped:
          pod.stopped:
            - name: notes
    """
    try:
        running = __salt__["pod.running"](name)
        changes = {unit: {"old": state, "new": "inactive"} for unit, state in running.items()}
        changes.update(__salt__["pod.undeclared"](name, units, timers))
        if not changes:
            return __utils__["results.unchanged"](name, f"Nothing of {name} runs")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"{name} would be stopped")
        __salt__["pod.stop"](name)
        __salt__["pod.remove_undeclared"](name, units, timers)
        left = __salt__["pod.running"](name)
    except ERRORS as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        return __utils__["results.failed"](name, f"stopped, and still running: {', '.join(left)}", changes)
    return __utils__["results.changed"](name, changes, f"{name} is stopped")


def absent(name):
    """
    Ensure a service has no pod, containers, network, timers and generations here. Volumes and images stay.

    name
        Name of the service. Only what carries its label is touched.

    Fails, and touches nothing, if a unit that stays needs one of its own.

    .. code-block:: yaml

        Service notes has no pod:
          pod.absent:
            - name: notes
    """
    try:
        changes = __salt__["pod.remnants"](name)
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} has no pod")
        if __opts__["test"]:
            files = __salt__["pod.files"](name)
            if files:
                __salt__["quadlet.check_removal"](files)
            __salt__["pod.forget_planned"](name)
            return __utils__["results.planned"](name, changes, f"The pod of {name} would be stopped and removed")
        __salt__["pod.remove"](name)
        left = __salt__["pod.remnants"](name)
    except ERRORS as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        return __utils__["results.failed"](name, f"removed, and still there: {', '.join(sorted(left))}", changes)
    return __utils__["results.changed"](name, changes, f"The pod of {name} is stopped and removed")


def _plan_healthy(name, files, url):
    if name in __context__.get(PLANNED, ()):
        return __utils__["results.unchanged"](name, f"{name} would be waited for")
    found = __salt__["pod_health.look"](name, files, url)
    if found and any(past["result"] is None for past in __running__.values()):
        # A database that this run would start again, for example. If that is not why, the run restarts the service.
        return __utils__["results.unchanged"](name, f"{name} is not healthy; what is put right before may be why")
    if found:
        found = __salt__["pod_health.wait"](name, files, url, SETTLE)
    if not found:
        return __utils__["results.unchanged"](name, f"{name} is healthy")
    changes = __salt__["pod.restart_changes"](name, files)
    return __utils__["results.planned"](
        name, changes, f"{name} would be restarted: {found[0]['unit']} {found[0]['state']}"
    )


def _made_healthy(name, files, url, timeout, definition):
    """Wait; and restart what nobody has touched. Returns what is still wrong, and the changes."""
    touched = name in __context__.get(STARTED, {}) or __salt__["generation.differs"](name, *definition)
    found = __salt__["pod_health.wait"](name, files, url, timeout if touched else SETTLE)
    if not found or touched:
        return found, {}
    changes = __salt__["pod.restart"](name, files)
    return __salt__["pod_health.wait"](name, files, url, timeout), changes


def _put_back(name):
    """Let the last healthy generation run on, in words for a comment: nobody has seen the new one."""
    try:
        if not __salt__["generation.show"](name):
            return ""
        __salt__["generation.restore"](name)
        __salt__["pod.start"](name, __salt__["pod.files"](name))
    except ERRORS as error:
        return f"\nThe last healthy one could not be put back: {error}"
    return "\nThe last healthy one runs on. The next run tries again."


def _roll_back(name, url, timeout, digest, reason):
    """Put the last healthy generation in the place of what did not become healthy."""
    # First: a run that is killed from here on leaves it to the next one to put the rest back.
    __salt__["generation.refuse"](name, digest, reason)
    changes = __salt__["generation.restore"](name)
    files = __salt__["pod.files"](name)
    changes = {**changes, **__salt__["pod.restart"](name, files)}
    found = __salt__["pod_health.wait"](name, files, url, timeout)
    what = "rolled back to the last healthy one"
    if found:
        again = __salt__["pod_health.explain"](name, files, found)
        what = f"{what}, which is not healthy now either:\n{again}\nthe new one had said"
    return __utils__["results.failed"](
        name, f"{name}: the new definition did not become healthy; {what}\n{reason}", changes
    )
