"""
Caddy's two sides as our modules use them: its program, which adapts and validates a Caddyfile, and its admin API.

Fidelity: the errors, their places and the API's answers have the words of 2.6.2. The "configuration" is no Caddy
JSON beyond ``admin``: it holds the text of the files, so that it differs whenever they do.
"""

import http.server
import json
import socketserver
import threading
from pathlib import Path

# The system's Python: Caddy's user need not be able to enter the folder of the one that runs the tests.
PROGRAM = """\
#!/usr/bin/python3
import json, re, sys
from pathlib import Path

main = Path(sys.argv[sys.argv.index("--config") + 1])
files = [main, *sorted(main.parent.glob("snippets/*.caddy")), *sorted(main.parent.glob("sites-enabled/*.caddy"))]
texts = {str(file.relative_to(main.parent)): file.read_text() for file in files}
sys.stderr.write('{"level":"info","msg":"some log"}\\n')
domains = []
for name, text in texts.items():
    for number, line in enumerate(text.splitlines(), 1):
        if "nonsense" in line:
            sys.exit(f"Error: {main.parent / name}:{number}: unrecognized directive: nonsense")
        if "missing-module" in line and "--validate" in sys.argv:
            sys.exit("Error: validation: loading modules: unknown module: missing-module")
        if line.endswith(" {") and re.match("[a-z]", line):
            for domain in line[:-2].split(", "):
                if domain in domains:
                    sys.exit(f"Error: ambiguous site definition: {domain}")
                domains.append(domain)
listen = re.findall(r"^\\s*admin (.*)", texts["Caddyfile"], re.MULTILINE)
print(json.dumps({"files": texts, **({"admin": {"listen": listen[-1]}} if listen else {})}))
"""


class Admin(socketserver.ThreadingUnixStreamServer):
    """The admin API. ``configuration`` is what runs; ``refusal`` is what it says to the next one, if anything."""

    daemon_threads = True

    def __init__(self, path):
        self.configuration = "null"
        self.refusal = None
        self.loads = 0
        super().__init__(str(path), _Request)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()
        Path(self.server_address).unlink(missing_ok=True)


class _Request(http.server.BaseHTTPRequestHandler):
    def address_string(self):
        return "@"  # a Unix socket's peer has no address

    def log_message(self, *_arguments):
        pass

    def do_GET(self):
        if self._is_allowed():
            self._answer(200, self.server.configuration)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if not self._is_allowed():
            return
        if self.server.refusal:
            self._answer(400, json.dumps({"error": f"loading config: {self.server.refusal}"}))
            return
        wanted = json.dumps(json.loads(body), sort_keys=True)
        if wanted != self.server.configuration or self.headers.get("Cache-Control") == "must-revalidate":
            self.server.loads += 1
        self.server.configuration = wanted
        self._answer(200, "")

    def _is_allowed(self):
        if self.headers.get("Host") != "":
            self._answer(403, json.dumps({"error": "host not allowed: " + str(self.headers.get("Host"))}))
            return False
        return True

    def _answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if text:
            self.wfile.write(text.encode())


def install_program(path):
    """Put the program at ``path``."""
    Path(path).write_text(PROGRAM)
    Path(path).chmod(0o755)
