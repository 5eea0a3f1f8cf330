"""
When an environment is made again, and by which settings.
"""

import fcntl
import os
import subprocess

import pytest


@pytest.fixture
def environment(command, monkeypatch, tmp_path):
    module = command("environment.py")
    for name in ("SSL_CERT_FILE", "UV_DEFAULT_INDEX", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "INSTALLER", tmp_path / "installer.lock")
    (tmp_path / "installer.lock").write_text("uv==1\n")
    return module


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "requirements.lock"
    path.write_text("salt==3008.3\n")
    return path


@pytest.fixture
def made(environment, lock, tmp_path):
    directory = tmp_path / "environment"
    (directory / "bin").mkdir(parents=True)
    (directory / "bin/python").touch()
    (directory / environment.STAMP).write_text(environment.digest(lock))
    return directory


def test_an_environment_with_its_stamp_is_left_alone(environment, lock, made):
    assert environment.is_current(made, lock)
    assert environment.make(made, lock, "a test") is False


@pytest.mark.parametrize("damage", ["stamp", "python", "lock", "installer", "python release"])
def test_an_environment_is_made_again_if_anything_about_it_is_not_right(environment, lock, made, damage, monkeypatch):
    match damage:
        case "stamp":
            (made / environment.STAMP).unlink()  # a run was killed
        case "python":
            (made / "bin/python").unlink()
            (made / "bin/python").symlink_to("/nonexistent/python3")
        case "lock":
            lock.write_text("salt==3008.4\n")
        case "installer":
            environment.INSTALLER.write_text("uv==2\n")
        case "python release":
            monkeypatch.setattr(environment.platform, "python_version_tuple", lambda: ("3", "99", "0"))
    assert not environment.is_current(made, lock)


def test_uv_goes_where_the_hosts_pip_goes(environment, monkeypatch, tmp_path):
    listing = (
        "global.index-url='https://first.example.test/simple'\n"
        "install.index-url='https://pip.example.test/simple'\n"
        "global.cert='/etc/ssl/own.pem'\n"
        "global.timeout='60'\n"
        "download.cert='/not/for/us'\n"
    )
    monkeypatch.setattr(environment, "run", lambda *_command, **_options: listing)
    assert environment.settings_for_uv(tmp_path) == {
        "UV_DEFAULT_INDEX": "https://pip.example.test/simple",
        "SSL_CERT_FILE": "/etc/ssl/own.pem",
    }


def test_pips_environment_outranks_its_files_and_uvs_own_outranks_both(environment, monkeypatch, tmp_path):
    listing = ":env:.index-url='https://env.example.test'\nglobal.index-url='https://file.example.test'\n"
    monkeypatch.setattr(environment, "run", lambda *_command, **_options: listing)
    assert environment.settings_for_uv(tmp_path) == {"UV_DEFAULT_INDEX": "https://env.example.test"}
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example.test")
    assert environment.settings_for_uv(tmp_path) == {}


def test_a_failing_command_is_a_failure_and_what_it_said_is_shown(environment, capsys):
    with pytest.raises(environment.Failure, match="exit code 3"):
        environment.run("sh", "-c", "echo why >&2; exit 3")
    assert "why" in capsys.readouterr().err


def test_what_would_mislead_python_is_not_passed_on(environment, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert environment.run("sh", "-c", "echo [$PYTHONPATH]") == "[]\n"


def test_what_outlives_a_killed_run_keeps_the_next_one_waiting(environment, tmp_path):
    ready, go = os.pipe(), os.pipe()
    with environment.alone(tmp_path):
        outlives = subprocess.Popen(
            ["sh", "-c", "echo ready; read line"], stdin=go[0], stdout=ready[1], close_fds=False
        )
        os.read(ready[0], 1)
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(go[1], b"end\n")
    outlives.wait()
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for descriptor in (*ready, *go, folder):
        os.close(descriptor)
