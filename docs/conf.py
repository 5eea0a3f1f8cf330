"""
The documentation site: ``docs/build DIRECTORY``.

Sources are where readers of the repository look for them, so Sphinx is started at the top of the tree: pages are the
documents in docs/, the README of each part, and each file that Salt loads (_modules, _states and so on) but for _utils.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "_extensions"))

project = "rick-infra"
extensions = ["myst_parser", "loader_modules", "entry_reference"]

root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "benchmarks/**README.md",
    "docs/**.md",
    "examples/**README.md",
    "salt/infra/*/README.md",
    "salt/authentik/README.md",
    *(f"{folder}/*.py" for folder in ("_beacons", "_grains", "_modules", "_output", "_pillar", "_runners", "_states")),
]
# Hidden folders are no part of the tree; salt/_modules and its siblings are links to what is there already.
exclude_patterns = [".*", "salt/_*", "**/__pycache__", "docs/_extensions"]

# Links with an anchor work as on a forge.
myst_heading_anchors = 4
nitpicky = True
add_module_names = False

html_theme = "furo"
html_title = "rick-infra"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_extra_path = ["_redirect"]  # the first page is docs/index.html; whoever opens the directory shall find it
