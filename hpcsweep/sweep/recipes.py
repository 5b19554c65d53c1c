"""Find a recipe: a file, or a name in a local copy of vllm-project/recipes."""

import os
from pathlib import Path

from hpcsweep.errors import SpecError
from hpcsweep.spec.base import nearest

FOLDER_VARIABLE = "HPCSWEEP_RECIPES"
REPOSITORY = "https://github.com/vllm-project/recipes"


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: a path, or ORG/MODEL or MODEL below $HPCSWEEP_RECIPES or ./recipes.

    Nothing is downloaded. Raises SpecError.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = Path(os.environ.get(FOLDER_VARIABLE) or "recipes") / "models"
    if path.suffix in (".yaml", ".yml") or not folder.is_dir():
        raise SpecError(
            f"recipe not found: {name}",
            code="recipe_not_found",
            hint=f"give a file, or set {FOLDER_VARIABLE} to a copy of {REPOSITORY} (git clone)",
        )
    known = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.glob("*/*.yaml")}
    matching = [each for each in known if name.lower() in (each.lower(), each.lower().rpartition("/")[2])]
    if len(matching) == 1:
        return known[matching[0]]
    hint = f"several: {', '.join(sorted(matching))}" if matching else nearest(name, known)
    raise SpecError(f"recipe not found in {folder}: {name}", code="recipe_not_found", hint=hint)
