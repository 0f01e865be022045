"""The kernel's sources: no two files use each other, and none is long."""

import pathlib
import re

import pytest

KERNEL = pathlib.Path(__file__).resolve().parents[2] / "kernel"
CRATES = {"kernel": KERNEL / "src", "notebook": KERNEL / "notebook/src", "wire": KERNEL / "wire/src"}


def name_of(file, folder):
    parts = file.relative_to(folder).with_suffix("").parts
    return "::".join(parts[:-1] if parts[-1] == "mod" else parts)


def used(text, names):
    """The modules that a file uses, by its `use crate::..` lines."""
    found = set()
    for line in re.findall(r"^\s*(?:pub )?use crate::([^;]+);", text, re.MULTILINE):
        head, _, group = line.partition("{")
        for item in group.rstrip("} \n").split(",") if group else [""]:
            path = (head + item.strip()).split("::")
            found.update(n for n in ("::".join(path[:i]) for i in (1, 2)) if n in names)
    return found


def uses(folder):
    files = [f for f in folder.rglob("*.rs") if f.name not in ("main.rs", "lib.rs", "paella-recall.rs")]
    names = {name_of(f, folder) for f in files}
    graph = {}
    for file in files:
        own = name_of(file, folder)
        found = used(file.read_text(), names) - {own}
        graph[own] = {n for n in found if not any(other.startswith(n + "::") and other in found for other in found)}
    return graph


def circle(graph):
    """A path that comes back to where it began, if there is one."""
    done = set()

    def walk(node, path):
        if node in path:
            return path[path.index(node) :] + [node]
        if node in done:
            return None
        done.add(node)
        return next(filter(None, (walk(next_, path + [node]) for next_ in sorted(graph[node]))), None)

    return next(filter(None, (walk(node, []) for node in sorted(graph))), None)


@pytest.mark.parametrize("crate", CRATES)
def test_no_files_use_each_other_in_a_circle(crate):
    assert circle(uses(CRATES[crate])) is None


def test_a_circle_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert used("use crate::bus::{self, emit};\nuse crate::prepare::{cells, trim::folder};", {"bus", "prepare", "prepare::trim"}) == {"bus", "prepare", "prepare::trim"}


def test_files_are_short():
    lines = {f: len(f.read_text().splitlines()) for folder in CRATES.values() for f in folder.rglob("*.rs")}
    assert len(lines) > 40 and max(lines.values()) < 400, lines
