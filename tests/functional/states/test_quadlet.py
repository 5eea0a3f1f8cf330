"""
Quadlet states in Salt's own loader. Without Podman, so what is looked at is what they plan.
"""

import pytest

# Nothing is written: this host's own folder is only read.
NAME = "rick-functional"
POD = {"Pod": {"PublishPort": "127.0.0.1:1:1"}}


@pytest.fixture
def planned(states):
    """Apply a state in test mode."""

    def run(function, **arguments):
        return getattr(states.quadlet, function)(test=True, **arguments)

    return run


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("pod", POD),
        ("container", {"Container": {"Image": "localhost/x:1"}}),
        ("volume", {"Volume": {"Copy": True}}),
        ("network", {"Network": {"Options": "isolate=true"}}),
        ("image", {"Image": {"Image": "registry.test/x:1"}}),
    ],
)
def test_a_unit_is_planned_with_its_text(planned, kind, definition):
    answer = planned(kind, name=NAME, definition=definition)
    assert answer.result is None
    assert f"+[{kind.capitalize()}]" in answer.changes[f"/etc/containers/systemd/{NAME}.{kind}"]["diff"]


def test_a_user_and_a_group_that_the_run_makes_are_a_plan(planned):
    answer = planned(
        "container",
        name=NAME,
        user="rick-nobody-yet",
        socket_groups=["postgres-clients"],
        definition={"Container": {"Image": "localhost/x:1", "Volume": "/run/postgresql:/run/postgresql:ro"}},
    )
    assert answer.result is None
    diff = answer.changes[f"/etc/containers/systemd/{NAME}.container"]["diff"]
    assert "+User=<uid of rick-nobody-yet, made in this run>" in diff
    assert "+DropCapability=all" in diff
    assert "+After=postgresql.service" in diff


def test_a_missing_user_is_an_error_otherwise(states):
    answer = states.quadlet.container(
        name=NAME, user="rick-nobody-yet", definition={"Container": {"Image": "localhost/x:1"}}, test=False
    )
    assert answer.result is False
    assert "rick-nobody-yet" in answer.comment


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "a/b", "definition": POD}, "a/b"),
        ({"name": NAME, "definition": {"Pod": {"PublishPorts": "1:1"}}}, "did you mean 'PublishPort'"),
        ({"name": NAME, "definition": {"Pods": {}}}, "[Pod] is missing"),
        ({"name": NAME}, "either a definition or a source"),
        ({"name": NAME, "source": "salt://no/such/file"}, "salt://no/such/file"),
        ({"name": NAME, "definition": {"Pod": {"Volume": "/run:/run"}}}, "private_socket.present"),
    ],
)
def test_bad_input_is_refused_with_the_reason(planned, arguments, reason):
    answer = planned("pod", **arguments)
    assert answer.result is False
    assert reason in answer.comment


def test_a_template_is_rendered_with_its_context(loaders, states, tmp_path):
    (tmp_path / "x.pod").write_text("# {{ why }}\n[Pod]\nPodName={{ opts['id'] }}\n")
    roots = loaders.opts["file_roots"]["base"]
    roots.append(str(tmp_path))
    try:
        answer = states.quadlet.pod(name=NAME, source="salt://x.pod", context={"why": "because"}, test=True)
    finally:
        roots.remove(str(tmp_path))
    diff = answer.changes[f"/etc/containers/systemd/{NAME}.pod"]["diff"]
    assert "+# because" in diff
    assert "+PodName=functional" in diff


def test_a_unit_that_nobody_declared_does_not_run(states):
    answer = states.quadlet.running(name="x", units=[f"{NAME}.pod"], test=False)
    assert answer.result is False
    assert f"{NAME}.pod: no such file" in answer.comment
