"""A hash of the source files that a model's results follow from, found and read without importing any of them.

The files are the model's own module and everything that it imports, directly or through others, as the source says it: every `import`
statement counts, inside functions too. Followed are the packages that are named at the start, and others that lie neither in Python's
library nor among the installed packages; what torch or numpy hold is told by their versions. A module whose name is put together while the
program runs is not found; name its package at the start.
"""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")


class SourceCode:
    """The source files of modules; each is read once, so that an object tells of one moment."""

    def __init__(self) -> None:
        self._tops: dict[str, Path | None] = {}
        self._files: dict[str, tuple[Path, bytes, frozenset[str]] | None] = {}

    def version(self, modules: Sequence[str], leave_out: Collection[str] = ()) -> str | None:
        """16 hexadecimal digits that change with any line of the files behind some modules.

        Args:
            modules: dotted names; their packages are followed wherever they lie.
            leave_out: modules whose own lines do not count; what they import does.

        Returns:
            None where one of the modules is not there.
        """
        digest = hashlib.sha256()
        files = self.files(modules)
        if files is None:
            return None
        for name, content in sorted(files.items()):
            if name in leave_out:
                continue
            digest.update(f"{name} {len(content)} ".encode() + content)
        return digest.hexdigest()[:16]

    def files(self, modules: Sequence[str]) -> dict[str, bytes] | None:
        """The content of every file behind some modules, by the module's name; None where one of the modules is not there."""
        named = {module.partition(".")[0] for module in modules}
        found: dict[str, bytes] = {}
        waiting = [(module, True) for module in modules]
        while waiting:
            module, needed = waiting.pop()
            if module in found or not self._followed(module.partition(".")[0], named):
                continue
            read = self._read(module)
            if read is None:
                if needed:
                    return None
                continue  # a name inside a module, or a package that is not installed
            _, content, imported = read
            found[module] = content
            waiting += [(each, False) for each in imported | _packages_of(module)]
        return found

    def _followed(self, top: str, named: set[str]) -> bool:
        """Whether the files of a package count."""
        if top in named:
            return True
        place = self._top(top)
        if top in sys.stdlib_module_names or place is None:
            return False
        return not any(part in INSTALLED for part in place.parts) and not place.is_relative_to(self._library)

    @cached_property
    def _library(self) -> Path:
        return Path(sysconfig.get_path("stdlib"))

    def _top(self, name: str) -> Path | None:
        """File of a module, or folder of a package, at the top; None where there is none that is written in Python."""
        if name not in self._tops:
            self._tops[name] = None
            try:
                spec = importlib.util.find_spec(name)
            except (ImportError, ValueError):  # a module that stands half imported, or `__main__`
                spec = None
            if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
                origin = Path(spec.origin)
                self._tops[name] = origin.parent if spec.submodule_search_locations else origin
        return self._tops[name]

    def _read(self, module: str) -> tuple[Path, bytes, frozenset[str]] | None:
        """A module's file, its content and what it imports; None where there is no such file."""
        if module not in self._files:
            self._files[module] = self._found(module)
        return self._files[module]

    def _found(self, module: str) -> tuple[Path, bytes, frozenset[str]] | None:
        top, *inner = module.split(".")
        place = self._top(top)
        if place is None:
            return None
        at = place.joinpath(*inner)
        places = [place] if not inner and place.suffix == ".py" else [at / "__init__.py", at.with_name(at.name + ".py")]
        path = next((each for each in places if each.is_file()), None)
        if path is None:
            return None
        content = path.read_bytes()
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        return path, content, frozenset(_imports(content, package))


def _packages_of(module: str) -> set[str]:
    """The packages that importing a module runs first: "a" and "a.b" of "a.b.c"."""
    parts = module.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))}


def _imports(content: bytes, package: str) -> Iterator[str]:
    """Dotted names that a file imports, of modules or of what is in them."""
    try:
        tree = ast.parse(content)
    except SyntaxError:  # whoever imports it will hear of that
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{name.name}" for name in node.names)
