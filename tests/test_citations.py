"""What the sources and the documents refer to exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = (".py", ".h", ".cpp", ".cu", ".md", ".toml", ".txt", ".sh")
FOLDERS = "condinst|csrc|kernels|tests|benchmarks|docs|examples"
ENDINGS = "py|h|cpp|cu|md|json|csv|npz|toml|jpg|png|sh"
PATH = rf"(?<![\w/.])(?:{FOLDERS})/[\w./-]*\w\.(?:{ENDINGS})\b"


PLANNED = {"benchmarks/tune_gpu.py"}
"""Not written yet; `make gpu` runs it when it is there."""
INVENTED = {"tests/test_citations.py", "tests/test_dependencies.py"}
"""Tests with names of files that do not exist."""


def _files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.splitlines() if name.endswith(TEXTS) and name not in INVENTED]
    return [ROOT / name for name in names if (ROOT / name).exists()]


def _sections() -> set[str]:
    """Numbers of the chapters and sections of docs/numerics.md."""
    return set(re.findall(r"^##+ (\d+(?:\.\d+)?)", (ROOT / "docs/numerics.md").read_text(), re.MULTILINE))


def missing_sections(text: str) -> list[str]:
    """Citations "numerics 1.10" of sections that docs/numerics.md does not have."""
    cited = re.findall(r"\bnumerics (\d+(?:\.\d+)?)(?: and (\d+(?:\.\d+)?))?", text)
    return sorted({number for pair in cited for number in pair if number} - _sections())


def missing_files(path: Path, text: str) -> list[str]:
    """Paths of the repository in a text, and relative links of a Markdown file, that do not exist."""
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text) if path.suffix == ".md" else []
    missing = [link for link in links if not (path.parent / link).exists()]
    return missing + [name for name in re.findall(PATH, text) if name not in PLANNED and not (ROOT / name).exists()]


@pytest.fixture(scope="module", autouse=True)
def repository() -> None:
    if subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("reads the list of files from git")


def test_every_cited_section_exists() -> None:
    missing = {str(path.relative_to(ROOT)): missing_sections(path.read_text()) for path in _files()}
    assert not {name: numbers for name, numbers in missing.items() if numbers}


def test_every_named_file_exists() -> None:
    missing = {str(path.relative_to(ROOT)): missing_files(path, path.read_text()) for path in _files()}
    assert not {name: files for name, files in missing.items() if files}


def test_no_document_outside_of_the_repository_is_cited() -> None:
    outside = re.compile(r"\bSPEC(?:\.md| \d| chapter)|\bDESIGN\.md|\bSTYLE\.md")
    found = {str(path.relative_to(ROOT)): outside.findall(path.read_text()) for path in _files()}
    assert not {name: words for name, words in found.items() if words}


def test_dangling_citations_are_seen() -> None:
    assert missing_sections("(section 3.4, numerics 1.99)") == ["1.99"]
    assert missing_sections("numerics 1 and 2") == []
    page = ROOT / "docs/some_page.md"
    assert missing_files(page, "[a](no_such_page.md) and csrc/no_such_file.cpp") == [
        "no_such_page.md",
        "csrc/no_such_file.cpp",
    ]
