"""
The double of Authentik answers as the original did when it was recorded.
"""

import json

import pytest
import replay
from doubles.authentik.server import create_app
from werkzeug.test import Client

TOKEN = "token-of-the-administrator"  # noqa: S105 - of a double


def sender(app):
    """Requests to an application in this process."""

    def send(method, path, headers, data):
        client = Client(app, use_cookies=False)
        answer = client.open(path, method=method, headers=headers, data=data)
        text = answer.get_data(as_text=True)
        kind = answer.headers.get("Content-Type", "")
        body = json.loads(text) if text and kind.startswith("application/json") else None
        found = {name.lower(): value for name, value in answer.headers.items()}
        return replay.Answer(answer.status_code, found, text, body, answer.headers.getlist("Set-Cookie"))

    return send


@pytest.mark.parametrize("path", replay.scenarios(), ids=lambda path: path.stem)
def test_a_recorded_scenario_replays(path):
    app = create_app(TOKEN)
    recorded = json.loads(path.read_text(encoding="utf-8"))
    replay.Replay(sender(app), TOKEN, app.authentik.restart, app.authentik.wait).run(recorded)
