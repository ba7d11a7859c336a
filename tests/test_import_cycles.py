"""The modules of the package form no cycle, whatever kind of import is counted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "condinst"


def _module_names(root: Path) -> dict[str, Path]:
    """The modules of the package, by their dotted names."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, paths, strict=True))


def _imported_modules(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a module names in an import, inside functions and for type checkers as well."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                imported = f"{source}.{alias.name}"
                if imported in modules:
                    yield imported
                elif source in modules:
                    yield source


def _find_cycles(root: Path) -> list[list[str]]:
    """Each cycle that a depth-first search meets, as the modules on it."""
    modules = _module_names(root)
    graph = {name: sorted(set(_imported_modules(name, path, modules)) - {name}) for name, path in modules.items()}
    cycles: list[list[str]] = []
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            cycles.append(trail[trail.index(name) :])
        elif name not in finished:
            for imported in graph[name]:
                visit(imported, [*trail, name])
            finished.add(name)

    for name in graph:
        visit(name, [])
    return cycles


def test_no_import_cycles() -> None:
    assert not _find_cycles(ROOT)


def test_cycles_are_seen(tmp_path: Path) -> None:
    """A late absolute import closes one cycle, an import for type checkers another."""
    sources = {
        "__init__.py": "",
        "a.py": "from .b import name\n",
        "b.py": "def f():\n    import condinst.a\n",
        "deep/__init__.py": "from .c import name\n",
        "deep/c.py": "if TYPE_CHECKING:\n    from .. import deep\n",
        "deep/d.py": "from .. import a\nfrom . import c\n",
    }
    for file, text in sources.items():
        path = tmp_path / PACKAGE / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert _find_cycles(tmp_path) == [["condinst.a", "condinst.b"], ["condinst.deep", "condinst.deep.c"]]
