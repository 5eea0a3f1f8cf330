"""
Quadlet units: written, compared and brought into line. Files are real, systemd and Podman answer from a script.
"""

import os

import pytest
from quadlet_host import GONE, install, live, quadlet
from salt.exceptions import CommandExecutionError, SaltInvocationError, SaltRenderError

BOTH_MODES = pytest.mark.parametrize("test_mode", [True, False])
CONTAINER = {"Container": {"Image": "localhost/x:1"}}
POD = {"Pod": {"PublishPort": "80:80"}}
NETWORK = {"Network": {"Options": "isolate=true"}}


@pytest.fixture
def host(tmp_path, monkeypatch, results):
    return install(tmp_path, monkeypatch, results)


def declare(kind, name, definition, **arguments):
    """Write a file as the states do."""
    return quadlet.write(f"{name}.{kind}", quadlet.render(kind, name, definition, **arguments))


@pytest.fixture
def notes(host):
    """A pod with one container on a network of its own, running as declared."""
    declare("network", "notes", NETWORK)
    declare("pod", "notes", {"Pod": {"Network": "notes.network"}})
    declare("container", "notes-web", {"Container": {"Image": "localhost/x:1", "Pod": "notes.pod"}})
    quadlet.apply(["notes.pod"])
    host.done.clear()
    host.asked.clear()
    host.context.clear()
    return host


def in_test_mode():
    quadlet.__opts__["test"] = live.__opts__["test"] = True


def test_what_is_rendered_has_what_it_needs(host):
    text = quadlet.render(
        "container",
        "notes-web",
        {"Container": {"Image": "x", "Volume": "/run/postgresql:/run/postgresql:ro"}},
        user="notes",
        socket_groups=["postgres-clients"],
    )
    for line in ("User=990", "GroupAdd=4001", "DropCapability=all", "NoNewPrivileges=true", "Restart=always"):
        assert f"\n{line}\n" in text
    for line in ("After=postgresql.service", "Wants=postgresql.service", "WantedBy=multi-user.target"):
        assert f"\n{line}\n" in text
    assert "Requires=" not in text


def test_a_private_socket_is_waited_for_and_leaves_the_image_its_user(host):
    text = quadlet.render(
        "container", "wiki", {"Container": {"Image": "x", "Volume": "/run/rick-infra/wiki:/run/postgresql:ro"}}
    )
    assert "\nAfter=rick-private-wiki-postgresql.socket\n" in text
    assert "User=" not in text
    assert "DropCapability" not in text


def test_what_is_refused_is_refused_when_it_is_rendered(host):
    with pytest.raises(SaltInvocationError, match=r"^wiki\.container: .*private_socket\.present"):
        quadlet.render("container", "wiki", CONTAINER, socket_groups=["postgres-clients"])


def test_drop_ins_count_for_what_is_refused(host):
    (host.folder / "notes-web.container.d").mkdir()
    (host.folder / "notes-web.container.d/more.conf").write_text("[Container]\nAddCapability=SETUID\n")
    with pytest.raises(SaltInvocationError, match="AddCapability"):
        quadlet.render("container", "notes-web", CONTAINER, user="notes", socket_groups=["postgres-clients"])


def test_the_pod_counts_for_what_is_refused_also_while_it_is_only_planned(host):
    quadlet.plan("notes.pod", "[Pod]\nUserNS=auto\n")
    definition = {"Container": {"Image": "x", "Pod": "notes.pod"}}
    with pytest.raises(SaltInvocationError, match="its pod has UserNS"):
        quadlet.render("container", "notes-web", definition, user="notes", socket_groups=["postgres-clients"])


@pytest.mark.parametrize("arguments", [{}, {"definition": CONTAINER, "source": "salt://x"}])
def test_either_a_definition_or_a_source_is_given(host, arguments):
    with pytest.raises(SaltInvocationError, match="either"):
        quadlet.render("container", "notes", **arguments)


def test_a_source_is_rendered_and_keeps_its_comments(host):
    host.salt["cp.get_file_str"] = lambda source, saltenv: {"salt://n": "# why\n[Container]\nImage={{ image }}\n"}[
        source
    ]
    host.salt["file.apply_template_on_contents"] = lambda text, template, context, defaults, saltenv: text.replace(
        "{{ image }}", context["image"]
    )
    text = quadlet.render("container", "notes", source="salt://n", context={"image": "y"})
    assert "# why\n" in text
    assert "\nImage=y\n" in text
    assert "rick-infra.digest" in text


def test_a_source_that_is_missing_or_does_not_render_is_an_error_that_names_it(host):
    host.salt["cp.get_file_str"] = lambda source, saltenv: "" if source == "salt://none" else "{{"

    def broken(*_):
        raise SaltRenderError("line 1")

    host.salt["file.apply_template_on_contents"] = broken
    for source in ("salt://none", "salt://broken"):
        with pytest.raises(CommandExecutionError, match=source):
            quadlet.render("container", "notes", source=source)


@BOTH_MODES
def test_the_same_definition_is_no_change(host, test_mode):
    declare("pod", "notes", POD)
    quadlet.__opts__["test"] = test_mode
    assert quadlet.diff("notes.pod", quadlet.render("pod", "notes", POD)) == {}


def test_an_unchanged_file_asks_neither_the_generator_nor_podman(host):
    declare("pod", "notes", POD)
    host.refused["notes.pod"] = "the generator was asked"
    host.asked.clear()
    assert declare("pod", "notes", POD) == {}
    assert host.asked == []


def test_a_change_shows_the_file_and_the_unit(host):
    changes = quadlet.diff("notes.pod", quadlet.render("pod", "notes", POD))
    assert "+PublishPort=80:80" in changes[f"{host.folder}/notes.pod"]["diff"]
    assert "+PublishPort=80:80" in changes["notes-pod.service"]["diff"]
    assert host.text("notes.pod") is None


def test_a_file_is_readable_and_roots(host):
    declare("pod", "notes", POD)
    path = host.folder / "notes.pod"
    assert path.stat().st_mode & 0o7777 == 0o644
    path.chmod(0o666)
    assert quadlet.diff("notes.pod", path.read_text()) == {
        str(path): {
            "old": f"{os.geteuid()}:{os.getegid()} 0666",
            "new": f"{os.geteuid()}:{os.getegid()} 0644",
        }
    }
    declare("pod", "notes", POD)
    assert path.stat().st_mode & 0o7777 == 0o644


def test_a_link_in_its_place_is_replaced(host, tmp_path):
    (tmp_path / "elsewhere").write_text(quadlet.render("pod", "notes", POD))
    (host.folder / "notes.pod").symlink_to(tmp_path / "elsewhere")
    assert declare("pod", "notes", POD)[f"{host.folder}/notes.pod"]["old"] == "a symbolic link"
    assert not (host.folder / "notes.pod").is_symlink()


def test_what_the_generator_refuses_is_not_written(host):
    host.refused["notes.container"] = "unsupported key 'Volme' in group 'Container'"
    with pytest.raises(CommandExecutionError, match=r"did you mean 'Volume'.*unsupported key"):
        declare("container", "notes", {"Container": {"Image": "localhost/x:1", "Volme": "x"}})
    assert host.text("notes.container") is None


def test_a_key_that_this_podman_is_too_old_for_is_refused_with_both_versions(host):
    host.refused["notes.container"] = "unsupported key"
    with pytest.raises(CommandExecutionError, match=r"needs Podman 5\.5, this host has 5\.4\.2"):
        declare("container", "notes", {"Container": {"Image": "localhost/x:1", "Memory": "1g"}})


def test_what_the_generator_accepts_is_right_though_our_table_has_not_heard_of_it(host):
    declare("container", "notes", {"Container": {"Image": "localhost/x:1", "FromTheFuture": "x"}})
    assert "FromTheFuture=x" in host.text("notes.container")


def test_a_name_that_is_taken_is_refused_and_nothing_written(host):
    with pytest.raises(CommandExecutionError, match=r"caddy\.service"):
        declare("container", "caddy", CONTAINER)
    assert host.text("caddy.container") is None


def test_without_podman_a_file_is_refused(host):
    host.podman = False
    with pytest.raises(CommandExecutionError, match=r"infra\.podman"):
        declare("pod", "notes", POD)


def test_without_podman_a_plan_rests_on_our_own_table(host):
    host.podman = False
    in_test_mode()
    assert list(quadlet.diff("notes.pod", quadlet.render("pod", "notes", POD))) == [f"{host.folder}/notes.pod"]
    with pytest.raises(CommandExecutionError, match="did you mean"):
        quadlet.diff(
            "notes.container", quadlet.render("container", "notes", {"Container": {"Image": "x", "Volme": "x"}})
        )


@pytest.mark.parametrize("keys", [{"Image": "localhost/none:1"}, {"Image": "registry.test/none:1", "Pull": "never"}])
def test_an_image_that_is_missing_is_named_before_anything_is_written(host, keys):
    with pytest.raises(CommandExecutionError, match="none:1"):
        declare("container", "notes", {"Container": keys})
    assert host.text("notes.container") is None


def test_an_image_that_is_missing_may_be_built_by_an_earlier_state_in_test_mode(host):
    in_test_mode()
    assert quadlet.diff(
        "notes.container", quadlet.render("container", "notes", {"Container": {"Image": "localhost/y:1"}})
    )


def test_a_volume_that_holds_data_is_not_declared_otherwise(host):
    declare("volume", "data", {"Volume": {"Copy": True}})
    host.volumes["systemd-data"] = "another"
    before = host.text("data.volume")
    with pytest.raises(CommandExecutionError, match="Data is never removed"):
        declare("volume", "data", {"Volume": {"Copy": False}})
    assert host.text("data.volume") == before


def test_a_pod_comes_up_with_all_that_belongs_to_it(notes):
    assert set(notes.containers) == {"notes-pod.service", "notes-web.service"}
    assert quadlet.pending(["notes.pod"]) == {}


def test_one_question_a_kind_is_asked_for_all_units(notes):
    for unit in ("notes.pod", "notes-web.container", "notes.network"):
        assert quadlet.pending([unit]) == {}
    assert sorted(notes.asked) == ["containers", "networks", "systemd"]


@pytest.mark.parametrize("obstacle", ["file", "reload"])
def test_a_run_that_was_killed_after_writing_is_repaired(notes, obstacle):
    declare("container", "notes-web", {"Container": {"Image": "localhost/x:1", "Pod": "notes.pod", "Exec": "new"}})
    if obstacle == "reload":
        notes.reload()
    notes.context.clear()
    notes.done.clear()
    assert quadlet.apply(["notes.pod"])["notes-web.container"]["new"] == "restarted"
    assert ("restart", "notes-web.service") in notes.done
    assert quadlet.pending(["notes.pod"]) == {}


def test_a_dead_container_is_started_and_the_others_left_alone(notes):
    notes.systemd["notes-web.service"].update(ActiveState="failed", SubState="failed")
    assert quadlet.apply(["notes.pod"]) == {"notes-web.container": {"old": "failed", "new": "started"}}
    assert notes.done == [("reset-failed", "notes-web.service"), ("start", "notes-web.service")]


def test_a_changed_network_is_removed_while_nobody_is_on_it(notes):
    declare("network", "notes", {"Network": {"Options": "isolate=strict"}})
    notes.done.clear()
    quadlet.apply(["notes.network"])
    stop, remove, start = (
        next(index for index, act in enumerate(notes.done) if act[0] == verb)
        for verb in ("stop", "rm network", "restart")
    )
    assert stop < remove < start
    assert {"notes-pod.service", "notes-web.service"} <= set(notes.done[stop])
    assert quadlet.pending(["notes.pod"]) == {}


def test_what_was_stopped_for_a_network_runs_on_if_the_network_cannot_go(notes, monkeypatch):
    declare("network", "notes", {"Network": {"Options": "isolate=strict"}})

    def used(_names):
        raise CommandExecutionError("network is being used")

    monkeypatch.setitem(live.__utils__, "quadlet_podman.remove_networks", used)
    with pytest.raises(CommandExecutionError, match="being used"):
        quadlet.apply(["notes.network"])
    assert "notes-web.service" in notes.containers


def test_a_missing_image_stops_nothing(notes):
    declare("container", "notes-web", {"Container": {"Image": "localhost/x:1", "Pod": "notes.pod", "Exec": "new"}})
    notes.images.clear()
    notes.done.clear()
    assert quadlet.missing_images(["notes.pod"]) == ["localhost/x:1"]
    with pytest.raises(CommandExecutionError, match="localhost/x:1"):
        quadlet.apply(["notes.pod"])
    assert notes.done == []
    assert notes.containers["notes-web.service"]["state"] == "running"


def test_an_image_from_a_registry_is_fetched_before_anything_is_stopped(notes):
    definition = {"Container": {"Image": "registry.test/y:1", "Pod": "notes.pod"}}
    declare("container", "notes-web", definition)
    notes.done.clear()
    quadlet.apply(["notes.pod"])
    assert notes.done[0] == ("pull", "registry.test/y:1", "missing", None)


def test_a_unit_that_does_not_start_is_an_error(notes):
    notes.systemd["notes-web.service"].update(ActiveState="inactive", SubState="dead")
    notes.obedient = False
    with pytest.raises(CommandExecutionError, match="failed"):
        quadlet.apply(["notes.pod"])


def test_a_unit_that_pretends_to_start_is_an_error(notes, monkeypatch):
    notes.systemd["notes-web.service"].update(ActiveState="failed", SubState="failed")
    monkeypatch.setitem(live.__utils__, "units.act", lambda *_: None)
    with pytest.raises(CommandExecutionError, match=r"still not as declared: notes-web\.container"):
        quadlet.apply(["notes.pod"])


def test_a_unit_that_the_generator_drops_is_an_error_with_its_words(notes, monkeypatch):
    declare("container", "alone", CONTAINER)
    monkeypatch.setitem(quadlet.__utils__, "units.daemon_reload", lambda: None)
    with pytest.raises(CommandExecutionError, match=r"alone\.service is unknown.*the generator's words"):
        quadlet.apply(["alone.container"])


def test_a_file_edited_by_hand_and_started_restarts_when_it_is_put_right(notes):
    text = notes.text("notes-web.container")
    (notes.folder / "notes-web.container").write_text(text.replace("localhost/x:1", "localhost/evil:1"))
    notes.reload()
    notes.run("notes-web.service")
    declare("container", "notes-web", {"Container": {"Image": "localhost/x:1", "Pod": "notes.pod"}})
    notes.done.clear()
    quadlet.apply(["notes.pod"])
    assert ("restart", "notes-web.service") in notes.done


def test_a_secret_that_the_run_renews_is_planned_for(notes):
    definition = {"Container": {"Image": "localhost/x:1", "Pod": "notes.pod", "Secret": "key,type=env"}}
    declare("container", "notes-web", definition)
    quadlet.apply(["notes.pod"])
    assert quadlet.pending(["notes.pod"]) == {}
    assert "secret key" in quadlet.pending(["notes.pod"], ["key"])["notes-web.container"]["old"]


def test_what_is_planned_earlier_in_a_run_counts_as_there(host):
    in_test_mode()
    for kind, name, definition in (
        ("pod", "notes", POD),
        ("container", "web", {"Container": {"Image": "localhost/x:1", "Pod": "notes.pod"}}),
    ):
        quadlet.plan(f"{name}.{kind}", quadlet.render(kind, name, definition))
    assert set(quadlet.pending(["notes.pod"])) == {"systemd", "notes.pod", "web.container"}


@pytest.mark.parametrize("units", [None, [], "notes.pod", ["notes"], ["../x.pod"]])
def test_what_is_no_list_of_files_is_refused(host, units):
    with pytest.raises(SaltInvocationError):
        quadlet.pending(units)


def test_a_file_that_nobody_declared_is_an_error_that_says_how(host):
    with pytest.raises(CommandExecutionError, match=r"wiki\.pod: no such file; declare it with quadlet\.pod"):
        quadlet.pending(["wiki.pod"])


def test_units_say_what_is_not_as_declared(notes):
    notes.containers["notes-web.service"]["digest"] = "older"
    found = {unit["file"]: unit for unit in quadlet.units()}
    assert found["notes.pod"]["as_declared"]
    assert not found["notes-web.container"]["as_declared"]
    assert "another definition" in found["notes-web.container"]["reason"]


def test_running_containers_are_found_by_their_files(notes):
    assert [one["name"] for one in quadlet.running_containers()] == ["notes-web"]
    assert quadlet.running_containers(["notes-web"])[0]["pid"] == 42
    assert quadlet.running_containers(["other"]) == []


ALL = ["notes-web.container", "notes.pod", "notes.network"]


def test_units_are_stopped_before_their_files_go_and_forgotten_after(notes):
    changes = quadlet.remove(ALL)
    order = [act if isinstance(act, str) else act[0] for act in notes.done]
    assert order.index("stop") < order.index("reload")
    assert set(notes.done[0][1:]) == {"notes-web.service", "notes-pod.service", "notes-network.service"}
    assert list(notes.folder.iterdir()) == []
    assert notes.networks == {}
    assert set(changes) > {f"{notes.folder}/notes.pod", "notes-pod.service", "systemd-notes"}
    assert quadlet.remnants(ALL) == {}


def test_what_a_killed_removal_left_is_removed(notes):
    for file in ALL:
        (notes.folder / file).unlink()
    assert {"notes-web.service", "notes-pod.service", "systemd-notes"} <= set(quadlet.remnants(ALL))
    quadlet.remove(ALL)
    assert quadlet.remnants(ALL) == {}


def test_a_pod_that_runs_without_file_and_unit_is_removed(notes):
    for file in ALL:
        (notes.folder / file).unlink()
    notes.reload()
    notes.systemd["notes-pod.service"] = {**GONE, "ActiveState": "active"}
    notes.done.clear()
    assert quadlet.remnants(ALL)["notes-pod.service"]["new"] is None
    quadlet.remove(ALL)
    assert ("stop", "notes-pod.service") in notes.done
    assert ("rm", ["systemd-notes-web"], []) in notes.done


def test_somebody_elses_unit_of_the_same_name_is_left_alone(host):
    host.systemd["caddy.service"] = {**GONE, "LoadState": "loaded", "ActiveState": "active", "SourcePath": ""}
    assert quadlet.remnants(["caddy.container"]) == {}


def test_a_unit_that_another_one_needs_stays(notes):
    notes.refused["notes.network"] = "needed"
    with pytest.raises(CommandExecutionError, match="still needed"):
        quadlet.remove(["notes.network"])
    assert notes.text("notes.network")
    assert notes.done == []


def test_the_whole_folder_can_be_checked(host):
    assert quadlet.check() == {"passed": False, "errors": ["the generator's words"], "units": {}}


def test_a_text_can_be_checked_before_it_is_written(host):
    assert quadlet.check("notes.pod", quadlet.render("pod", "notes", POD))["passed"]
    host.refused["notes.pod"] = "no"
    assert quadlet.check("notes.pod", quadlet.render("pod", "notes", POD))["errors"] == ['converting "notes.pod": no']


def test_a_file_of_somebody_else_that_cannot_be_read_concerns_nobody(notes):
    (notes.folder / "theirs.container").write_text("[Container]\nImage=x\\")
    assert quadlet.pending(["notes.pod"]) == {}
    assert "theirs.container" in live.declared()


def test_what_a_unit_logged_shows_no_secret_and_commands_no_terminal(notes):
    definition = {"Container": {"Image": "localhost/x:1", "Pod": "notes.pod", "Secret": "key,type=env"}}
    notes.store("key", b"s3cret-value")
    declare("container", "notes-web", definition)

    def act(_verb, services, _wait=True):
        if services:
            raise CommandExecutionError("Job failed.\nits key is s3cret-value\x1b[2J")

    notes.utils["units.act"] = act
    with pytest.raises(CommandExecutionError, match="Job failed") as raised:
        quadlet.apply(["notes.pod"])
    assert "s3cret-value" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
