"""
What is measured inside a machine: the time of a command, what it touched, and when a page is served.
"""

import http.server
import sys
import threading
import time

import pytest


@pytest.fixture
def measure(benchmark_file, monkeypatch, tmp_path):
    """The file, looking at a directory of the test's and at no units."""
    module = benchmark_file("measure.py")
    monkeypatch.setattr(module, "FILES", (f"{tmp_path}/host/**/*",))
    monkeypatch.setattr(module, "units", dict)
    monkeypatch.setattr(module, "PATIENCE", 5)
    (tmp_path / "host").mkdir()
    return module


@pytest.fixture
def server():
    """A web server on a free port; ``page`` is what it answers, with 503 where that is None."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503 if self.server.page is None else 200)
            self.end_headers()
            self.wfile.write((self.server.page or "").encode())

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.page = None
        found.url = f"http://127.0.0.1:{found.server_port}/"
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def python(code):
    return [sys.executable, "-c", code]


def test_wall_and_cpu_are_told_apart(measure):
    idle = measure.run(python("import time; time.sleep(0.5)"), None, None)
    busy = measure.run(python("import time\nwhile time.process_time() < 0.5: pass"), None, None)
    assert idle["wall"] >= 0.5 > idle["cpu"]
    assert busy["cpu"] >= 0.5


def test_only_the_commands_own_cpu_counts_and_not_that_of_an_earlier_one(measure):
    measure.run(python("import time\nwhile time.process_time() < 0.5: pass"), None, None)
    assert measure.run(["true"], None, None)["cpu"] < 0.4


def test_what_the_command_says_comes_back_with_its_status(measure):
    answer = measure.run(["sh", "-c", "echo said; echo complained >&2; exit 3"], None, None)
    assert (answer["status"], answer["output"], answer["complaints"]) == (3, "said\n", "complained\n")


@pytest.mark.parametrize(
    "act",
    [
        "(file.write_text('other'))",
        "(file.write_text('same'))",  # written again is touched, too
        "(file.unlink())",
        "(file.chmod(0o600))",
        "((file.parent / 'new').touch())",
    ],
)
def test_a_file_that_is_written_removed_or_made_is_touched(measure, tmp_path, act):
    file = tmp_path / "host/file"
    file.write_text("same")
    file.chmod(0o644)
    answer = measure.run(python(f"import pathlib; file = pathlib.Path({str(file)!r}); {act}"), None, None)
    assert [name.rpartition("/")[2] for name in answer["touched"]] == ["new" if "new" in act else "file"]


def test_a_command_that_does_nothing_touches_nothing(measure, tmp_path):
    (tmp_path / "host/file").write_text("same")
    assert measure.run(["true"], None, None)["touched"] == []


def test_a_unit_that_was_started_again_is_touched(measure, monkeypatch):
    invocations = iter([{"a.service": "1", "b.service": "1"}, {"a.service": "2", "b.service": "1"}])
    monkeypatch.setattr(measure, "units", lambda: next(invocations))
    assert measure.run(["true"], None, None)["touched"] == ["a.service"]


def test_a_page_may_get_its_text_after_the_command_has_ended(measure, server):
    server.page = "old"
    threading.Timer(0.5, setattr, (server, "page", "new")).start()
    answer = measure.run(["true"], server.url, "new")
    assert answer["served"] >= 0.5 > answer["wall"]


def test_a_page_may_get_its_text_before_the_command_ends(measure, server):
    server.page = "new"
    answer = measure.run(python("import time; time.sleep(0.5)"), server.url, "new")
    assert answer["served"] < 0.5 <= answer["wall"]


def test_a_page_that_never_gets_its_text_is_not_served(measure, server, monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE", 0.2)
    server.page = "old"
    assert measure.run(["true"], server.url, "new")["served"] is None


def test_a_page_of_a_command_that_failed_is_not_waited_for(measure, server):
    server.page = "old"
    began = time.monotonic()
    assert measure.run(["false"], server.url, "new")["served"] is None
    assert time.monotonic() - began < measure.PATIENCE


def test_after_a_boot_an_error_is_no_answer(measure, server, monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE", 0.2)
    answer = measure.boot([server.url])
    assert answer == {"seconds": [], "missing": [server.url]}


def test_after_a_boot_each_page_is_asked_until_it_answers(measure, server):
    began = time.monotonic()
    threading.Timer(0.5, setattr, (server, "page", "")).start()
    answer = measure.boot([server.url, f"{server.url}other"])
    assert answer["missing"] == []
    assert len(answer["seconds"]) == 2
    assert time.monotonic() - began >= 0.5
    # Counted from the start of PID 1, which is before this test's.
    assert min(answer["seconds"]) > time.monotonic() - began
