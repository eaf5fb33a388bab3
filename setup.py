"""What pyproject.toml has no words for: folders of the checkout that the package carries inside."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# whose YAML files `citrus_ray/experiment/sweep_files.py` finds
CARRIED = ("sweeps", "cluster")


class WithSweeps(build_py):
    """Copies them to `citrus_ray/<folder>`. An editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for file in self._carried():
                target = Path(self.build_lib, "citrus_ray", file)
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *map(str, self._carried())]

    def _carried(self) -> list[Path]:
        return [file for folder in CARRIED for file in sorted(Path(folder).rglob("*.yaml"))]


setup(cmdclass={"build_py": WithSweeps})
