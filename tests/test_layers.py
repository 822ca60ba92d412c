"""The layers of the code: which module may import which, no circle of imports, and no function that is too long."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NETWORK = {"requests", "httpx", "urllib", "http", "huggingface_hub", "aiohttp", "socket"}

FORBIDDEN = {
    "cells": {"app", "train", "hub", "page", "gradio", *NETWORK},
    "train": {"app", "hub", "page", "gradio", *NETWORK},
    "hub": {"app", "train", "page", "gradio"},
    "page": {"app", "train", *NETWORK},
}
GRADIO = {"layout.py", "api.py", "gradio_internals.py"}  # of page: the others are functions of plain values
# Within cells: what reads pictures, what answers and what writes are apart. A dot more is a module within.
FORBIDDEN_WITHIN = {
    "cells.read": {"cells.model", "cells.write"},
    "cells.model": {"cells.write"},
}
# Only classifier.py may name a module of cells.write: Classifier.table is a DataFrame with the columns of the CSV.
EXCEPT = {("cells.model.classifier", "cells.write.table")}
# A module of cells.model imports nothing that stands to the right of it, nor beside it.
LADDER = [{"folder"}, {"torch_network", "onnx_network"}, {"adapted_network", "export"}, {"classifier"}, {"batch_statistics"}]
MOST_LINES = 60  # of a function


def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def project(*places: str) -> list[Path]:
    """The Python files of these folders and files; without any, all of the project's."""
    folders = [ROOT / folder for folder in (*FORBIDDEN, "benchmarks", "tests")]
    paths = [ROOT / place for place in places] or [*ROOT.glob("*.py"), *folders]
    return sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py")))


def module_name(file: Path, root: Path = ROOT) -> str:
    """As an import statement names it; tests have no package."""
    parts = file.relative_to(root).with_suffix("").parts
    if parts[0] == "tests":
        return parts[-1]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a file, in functions too, without what is there for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                yield other
                yield from executed(other)
        else:
            yield node
            yield from executed(node)


def statements(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, names taken from it) of each import of a file, anywhere in it."""
    for node in executed(syntax(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield node.module, tuple(alias.name for alias in node.names)


def imports(file: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it."""
    return {module.split(".")[0] for module, _ in statements(file)}


def graph(files: list[Path], root: Path = ROOT) -> dict[str, set[str]]:
    """The modules of these files, each with those of them that it imports."""
    modules = {module_name(file, root): file for file in files}
    edges = {}
    for module, file in modules.items():
        found = set()
        for name, taken in statements(file):
            inner = {f"{name}.{one}" for one in taken} & modules.keys()
            found |= inner
            if len(inner) < len(taken) or not taken:  # something of the module itself
                found |= {name} & modules.keys()
        edges[module] = found
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """The modules of a circle in the order in which they import each other, the first once more at the end; [] without one."""
    done: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(edges[module]):
            if found := search(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next(filter(None, (search(module, []) for module in sorted(edges))), [])


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_only_what_it_may(package):
    files = project(package)
    assert files
    for file in files:
        assert not imports(file) & FORBIDDEN[package], file


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("package", FORBIDDEN_WITHIN)
def test_reading_answering_and_writing_are_apart(package):
    edges = graph(project("cells"))
    assert any(within(module, package) for module in edges)
    for module in edges:
        for other in edges[module] if within(module, package) else ():
            wrong = any(within(other, forbidden) for forbidden in FORBIDDEN_WITHIN[package])
            assert not wrong or (module, other) in EXCEPT, f"{module} imports {other}"


def test_a_model_is_built_in_one_direction():
    edges = graph(project("cells/model"))
    for step, names in enumerate(LADDER):
        later = {f"cells.model.{name}" for names in LADDER[step:] for name in names}
        for name in names:
            assert not edges[f"cells.model.{name}"] & later, name


def test_no_modules_import_each_other_in_a_circle():
    edges = graph(project())
    assert {"app", "cells.review", "page.views", "train.run", "hub.card", "serving"} <= edges.keys()
    assert circle(edges) == []


def test_the_page_runs_without_what_publishes():
    edges = graph(project())
    found, new = set(), {"app"}
    while new:
        found |= new
        new = {other for module in new for other in edges[module]} - found
    assert "hub.catalog" in found
    assert not found & {"hub.publish", "hub.card"}


def test_a_circle_is_found_and_named(tmp_path):
    """Also through a function and a package's own names; for a type checker alone it is none."""
    (tmp_path / "pack").mkdir()
    for name, text in (
        ("pack/__init__.py", "from pack import a\n"),
        ("pack/a.py", "from pack import b\nimport os\n"),
        ("pack/b.py", "def f():\n    import pack.c\n"),
        ("pack/c.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack import a\n"),
    ):
        (tmp_path / name).write_text(text)
    files = sorted(tmp_path.rglob("*.py"))
    assert circle(graph(files, tmp_path)) == []
    (tmp_path / "pack/c.py").write_text("from pack.a import f\n")
    assert circle(graph(files, tmp_path)) == ["pack.a", "pack.b", "pack.c", "pack.a"]
    (tmp_path / "pack/c.py").write_text("from pack import f\n")
    assert circle(graph(files, tmp_path)) == ["pack", "pack.a", "pack.b", "pack.c", "pack"]


def test_no_function_is_too_long():
    """From def to its last line, with its docstring."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    places = ("app.py", *FORBIDDEN, "benchmarks")
    found = [(file, node) for file in project(*places) for node in ast.walk(syntax(file)) if isinstance(node, functions)]
    lengths = {f"{module_name(file)}.{node.name}:{node.lineno}": node.end_lineno - node.lineno + 1 for file, node in found}
    assert len(lengths) > 500
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_three_files_of_page_know_gradio_and_one_its_private_parts():
    files = sorted((ROOT / "page").glob("*.py"))
    assert {file.name for file in files if "gradio" in imports(file)} == GRADIO
    private = {"queueing", "route_utils", "context", "state_holder", "_queue", "upload_file_set", "temp_file_sets"}
    for file in (*files, ROOT / "app.py"):
        words = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        words |= {alias.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)
                  for alias in node.names}  # fmt: skip
        assert not words & private or file.name == "gradio_internals.py", file


def test_app_py_is_short():
    assert len((ROOT / "app.py").read_text().splitlines()) <= 150


def test_ray_is_imported_in_one_file_of_cells_only():
    assert [file.name for file in project("app.py", *FORBIDDEN) if "ray" in imports(file)] == ["cluster.py"]


def test_the_app_does_not_import_training():
    assert "train" not in imports(ROOT / "app.py")


def test_cells_brings_neither_gradio_nor_training_nor_ray_along():
    code = "import sys, cells.__main__; print(sorted({'gradio', 'datasets', 'train', 'hub', 'app', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_opens_before_anything_heavy_is_imported():
    code = "import sys, app; print(sorted({'torch', 'transformers', 'timm', 'onnxruntime', 'captum'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_shadows_a_library():
    names = {file.stem for file in ROOT.rglob("*.py") if ".venv" not in file.parts}
    assert not names & {"evaluate", "datasets", "torch", "timm", "accelerate", "transformers", "utils"}


def test_no_pickle_is_read_or_written():
    for file in project("app.py", *FORBIDDEN):
        assert not imports(file) & {"pickle", "joblib", "dill"}, file
        if file.name != "packages.py":  # others' weights; test_packages.py asks for what it checks before it reads them
            assert "torch.load" not in file.read_text(), file
        assert "torch.save" not in file.read_text(), file
