"""Print constraints that hold every dependency of the project, its extras' too, at the oldest release it allows."""

import itertools
import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)")


def oldest(project: dict) -> dict[str, str]:
    """Return the lowest bound of every package that a project names."""
    found: dict[str, str] = {}
    for requirement in itertools.chain(project["dependencies"], *project["optional-dependencies"].values()):
        if requirement.startswith(f"{project['name']}["):
            continue  # extras of the project itself
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no lower bound alone; write it as name>=version.")
        name, bound = match.groups()
        found[name] = min(bound, found.get(name, bound), key=lambda text: [int(part) for part in text.split(".")])
    return found


if __name__ == "__main__":
    project = tomllib.loads(PROJECT.read_text())["project"]
    print("\n".join(f"{name}=={bound}" for name, bound in sorted(oldest(project).items())))
