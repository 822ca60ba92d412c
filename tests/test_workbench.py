"""The workbench's own tests, which node runs: the review without a page, the keys, the journal, the view's helpers."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

WORKBENCH = Path(__file__).resolve().parent.parent / "page" / "workbench"


def test_the_modules_of_the_workbench_pass_their_own_tests():
    node = shutil.which("node")
    if node is None:
        if os.environ.get("REQUIRE_NODE"):
            pytest.fail("REQUIRE_NODE is set and node was not found")
        pytest.skip("node was not found: install Node.js 20 or newer to run the workbench's own tests")
    tests = sorted(map(str, WORKBENCH.glob("*.test.js")))
    assert {Path(test).name for test in tests} >= {"review.test.js", "keys.test.js", "store.test.js"}
    done = subprocess.run([node, "--test", *tests], capture_output=True, text=True, cwd=WORKBENCH)
    assert done.returncode == 0, done.stdout


def test_every_module_of_the_workbench_has_tests_or_is_run_in_the_browser():
    modules = set(imports())
    tested = {path.name.replace(".test.js", ".js") for path in WORKBENCH.glob("*.test.js")}
    assert modules - tested == {"main.js"}  # it ties the others to the page; tests/test_browser.py runs it


def test_no_module_of_the_workbench_imports_itself_in_a_circle():
    left = imports()
    assert left["main.js"] >= {"editor.js", "keeping.js"}
    while leaves := {name for name, needed in left.items() if not needed & left.keys()}:
        left = {name: needed for name, needed in left.items() if name not in leaves}
    assert not left


def imports() -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    modules = [path for path in WORKBENCH.glob("*.js") if not path.name.endswith(".test.js")]
    return {path.name: set(re.findall(r"from '\./([\w.]+)'", path.read_text(encoding="utf-8"))) for path in modules}
