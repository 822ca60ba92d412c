"""The README: what a Space reads in it, what it says of figures and dependencies, and the line that CI runs."""

import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml
from test_layers import FORBIDDEN, imports

from cells.model.uncertainty import STATUSES
from cells.synthetic import draw_cell
from hub.space import TOP_LEVEL, published_models

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(re.match(r"([a-z0-9._-]+)==([^ ;]+)", line).groups() for line in lines if "==" in line and line[0] != "#")


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"==|\[", one)[0] for one in requirements}


def test_front_matter_is_what_a_space_needs():
    front = yaml.safe_load(README.split("---")[1])
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == pins("requirements.txt")["gradio"]
    assert (ROOT / front["app_file"]).is_file()
    assert tuple(map(int, front["python_version"].split("."))) >= (3, 11)
    assert {"license", "tags", "title"} <= set(front)


def test_every_direct_dependency_is_pinned_and_explained():
    for requirement in DIRECT:
        name, version = re.sub(r"\[.*\]", "", requirement).split("==")  # ray[data]
        assert pins("requirements-dev.txt")[name] == version
        assert re.search(rf"^\| `{re.escape(name)}` \| .{{5,}} \|$", README, re.MULTILINE), name
    for requirement in PROJECT["dependencies"]:
        name, version = requirement.split("==")
        assert pins("requirements.txt")[name] == version


def test_nothing_is_explained_that_is_not_needed():
    table = README.split("## Dependencies")[1].split("## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == names(DIRECT)


def test_whatever_the_code_imports_is_a_direct_dependency():
    """But for what belongs to one: Gradio's server, and the arrays of Ray and datasets."""
    direct = names(DIRECT)
    files = [ROOT / "app.py", *(file for room in FORBIDDEN for file in (ROOT / room).rglob("*.py"))]
    ours = {"app", *FORBIDDEN}
    distributions = packages_distributions()
    for name in set().union(*map(imports, files)) - ours - set(sys.stdlib_module_names) - {"fastapi", "pyarrow"}:
        assert {one.lower().replace("_", "-") for one in distributions.get(name, [name])} & direct, name


def test_the_space_installs_what_the_tests_run_on():
    assert "requirements.txt" in TOP_LEVEL
    assert "pyproject.toml" not in TOP_LEVEL  # whose absence makes a Space take requirements.txt alone
    assert all("==" in line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#"))


def test_the_app_and_the_tests_run_on_the_same_versions():
    app, everything = pins("requirements.txt"), pins("requirements-dev.txt")
    assert app.items() <= everything.items()


def test_ci_runs_the_test_command_of_the_readme():
    block = README.split("<!-- the test command -->")[1].split("<!-- -->")[0]
    lines = [line for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 1
    for part in ("requirements-dev.txt", "ruff check", "ruff format --check", "pytest"):
        assert part in lines[0]


def test_it_is_short_and_in_the_order_in_which_a_newcomer_asks():
    body = README.split("---", 2)[2]
    assert len(body.split()) <= 1500
    order = ["Start", "Use", "Results", "Limits", "Where things are", "Links"]
    assert [heading for heading in re.findall(r"^## (.+)$", body, re.MULTILINE) if heading in order] == order
    assert body.index("<img") < body.index("## Start")


def test_its_lines_for_python_run(tmp_path, monkeypatch, capsys):
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "Classifier" in block)
    monkeypatch.chdir(tmp_path)
    draw_cell("platelet").convert("RGB").save("cell.jpg")
    exec(code, {})
    label, probability, status = capsys.readouterr().out.split()
    assert label == "platelet"
    assert 0 < float(probability) <= 1
    assert status in STATUSES


def test_every_path_in_the_tree_exists():
    tree = README.split("## Where things are")[1].split("```")[1]
    paths = [line.split()[0] for line in tree.strip().splitlines()]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_figures_are_the_measured_ones():
    for name in published_models():
        test = json.loads((ROOT / "models" / name / "metrics.json").read_text())["test"]
        row = next(line for line in README.splitlines() if line.startswith(f"| [`{name}`]"))
        for key in ("accuracy", "balanced_accuracy", "kappa", "macro_f1"):
            assert f"{test[key]:.4f}" in row
        assert f"{test['accuracy_low']:.4f} to {test['accuracy_high']:.4f}" in row
