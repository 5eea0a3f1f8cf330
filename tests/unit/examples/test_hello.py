"""
What the static server's start puts where, with a stand-in for busybox's httpd.
"""

import html
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tree import TREE

HELLO = TREE / "examples/hello"
# It says what it was asked to serve, and waits as a server does.
HTTPD = """\
#!/bin/sh
echo "$@"
exec sleep 5
"""


@pytest.fixture
def serve(tmp_path):
    """A function that starts the server, returns its arguments and the directory that it serves, and ends it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "httpd").write_text(HTTPD)
    (programs / "httpd").chmod(0o755)
    (tmp_path / "tmp").mkdir()

    def start(www, **environment):
        with subprocess.Popen(
            ["/bin/sh", HELLO / "serve"],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "TMPDIR": str(tmp_path / "tmp"),
                "WWW": str(www),
                "SAMPLE": str(HELLO / "page"),
                **environment,
            },
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            said = process.stdout.readline().split()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=5) == 0
        return said

    return start


@pytest.fixture
def www(tmp_path):
    """What the image has at /srv/www."""
    return shutil.copytree(HELLO / "page", tmp_path / "www")


def served(arguments):
    return arguments[arguments.index("-h") + 1]


def test_it_serves_the_image_s_files_by_itself(serve, www):
    assert serve(www) == ["-f", "-p", "8080", "-h", str(www), "-c", "/etc/hello/httpd.conf"]


def test_the_port_can_be_chosen(serve, www):
    assert "8000" in serve(www, PORT="8000")


def test_an_empty_volume_gets_the_sample_page(serve, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    assert served(serve(volume)) == str(volume)
    assert {path.name for path in volume.iterdir()} == {"index.html", "style.css"}


def test_a_volume_with_files_is_left_alone(serve, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "page.html").write_text("mine")
    assert served(serve(volume)) == str(volume)
    assert [path.name for path in volume.iterdir()] == ["page.html"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(greeting=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80))
def test_any_greeting_is_shown_as_it_is(serve, www, greeting):
    place = Path(served(serve(www, GREETING=greeting)))
    assert {path.name for path in place.iterdir()} == {"index.html", "style.css"}
    heading = (place / "index.html").read_text("utf-8").partition("<h1>\n")[2].partition("\n    </h1>")[0]
    assert html.unescape(heading) == greeting
    assert "<" not in heading


def test_a_greeting_changes_nothing_in_the_served_directory(serve, www):
    before = (www / "index.html").read_text()
    assert served(serve(www, GREETING="Hi")) != str(www)
    assert (www / "index.html").read_text() == before


def test_the_server_runs_no_programs():
    # What busybox does with it was tried in a container: every way of writing the path ends with 401.
    assert "/cgi-bin:nobody:" in (HELLO / "httpd.conf").read_text()
