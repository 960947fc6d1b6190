"""The package as its users meet it: what an import costs, its public names, the built wheel."""

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, ignore_patterns

import keras
import numpy as np
import pytest

import spanbert_tf
from spanbert_tf.export.encoder_layers import BackboneEncoder
from tests.conftest import ROOT

HEAVY = {"jax", "keras", "keras_hub", "numpy", "tensorflow", "tensorflow_text", "torch"}
REGISTERED_CLASSES = [
    "SpanBertBackbone",
    "SpanBertPretrainer",
    "SpanBertPretrainerPreprocessor",
    "SpanBertTextClassifier",
    "SpanBertTextClassifierPreprocessor",
    "SpanBertTokenizer",
    "SpanMasking",
]


def run_python(source: str, cwd: Path = ROOT, **environment: str) -> str:
    """Runs `source` in a fresh interpreter and returns what it printed."""
    return output_of(["-c", source], cwd, **environment)


def output_of(arguments: list[str], cwd: Path = ROOT, **environment: str) -> str:
    outcome = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def run_without_tensorflow(source: str, folder: Path, backend: str) -> str:
    """Runs `source` as on a machine that has another of Keras' backends alone."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    script = folder / "script.py"
    script.write_text(source)
    arguments = [str(ROOT / "tests" / "without_tensorflow.py"), str(script)]
    environment = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return output_of(arguments, folder, **environment)


@pytest.mark.parametrize("module", ["spanbert_tf", "spanbert_tf.features", "spanbert_tf.cli.main"])
def test_import_loads_no_heavy_library(module: str):
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert "spanbert_tf" in loaded
    assert HEAVY.isdisjoint(loaded)


@pytest.mark.parametrize("name", spanbert_tf.__all__)
def test_public_name_resolves(name: str):
    assert name in dir(spanbert_tf)
    value = getattr(spanbert_tf, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__
        assert value is getattr(import_module(spanbert_tf._MODULES[name]), name)


def test_public_names_and_their_modules_agree():
    assert set(spanbert_tf.__all__) == {"__version__", *spanbert_tf._MODULES}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'spanbert_tf' has no attribute 'no_such_name'"):
        spanbert_tf.no_such_name  # noqa: B018 - the access is the test


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import keras_hub, spanbert_tf",
        "import spanbert_tf, keras_hub",
        "import spanbert_tf.tokenization.tokenizer",
        "import spanbert_tf.layers.masking.span_masking, keras_hub",
    ],
)
def test_keras_hub_knows_our_classes(imports: str):
    """Whichever module comes first, no import is circular and every class is registered."""
    registered = run_python(
        f"{imports}\n"
        "import keras\n"
        f"for name in {REGISTERED_CLASSES}:\n"
        "    print(keras.saving.get_registered_object(f'spanbert_tf>{name}').__name__)\n"
    )
    assert registered.split() == REGISTERED_CLASSES


def registered_names() -> list[str]:
    """Names of all classes in the source that Keras is to know."""
    names = []
    for file in sorted((ROOT / "spanbert_tf").rglob("*.py")):
        source = file.read_text("utf-8")
        names += re.findall(r"@keras\.saving\.register_keras_serializable.*\nclass (\w+)", source)
    return names


@pytest.mark.slow
def test_keras_finds_our_classes_when_it_loads_a_model(tmp_path: Path):
    """In a new process that imports no class; imports stay light until a file names one."""
    backbone = spanbert_tf.SpanBertBackbone(7, 1, 2, 4, 6, max_sequence_length=5)
    encoder = BackboneEncoder(backbone)
    inputs = [keras.Input((None,), dtype="int32") for _ in range(3)]
    outputs = keras.layers.Dense(2)(encoder(*inputs))
    model = keras.Model(inputs, outputs)
    rows = np.ones((1, 3), "int32")
    model.save(tmp_path / "k.keras")
    printed = run_python(
        "import sys, keras, spanbert_tf, numpy as np\n"
        "print('keras_hub' in sys.modules, 'x' in keras.saving.get_custom_objects())\n"
        f"model = keras.models.load_model({str(tmp_path / 'k.keras')!r})\n"
        f"np.save({str(tmp_path / 'out.npy')!r}, model([np.ones((1, 3), 'int32')] * 3))\n"
        f"for name in {registered_names()}:\n"
        "    print(keras.saving.get_registered_object(f'spanbert_tf>{name}').__name__)\n"
    ).split()
    assert printed[:2] == ["False", "False"]
    assert printed[2:] == registered_names()
    assert len(printed) > 20
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model([rows] * 3), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import keras_hub, spanbert_tf",
        "import spanbert_tf, keras_hub",
        "from spanbert_tf.backbone import SpanBertBackbone",
    ],
)
def test_encoder_and_layers_import_without_tensorflow(imports: str, tmp_path: Path):
    printed = run_without_tensorflow(
        f"{imports}\n"
        "import pkgutil\n"
        "from importlib import import_module\n"
        "import keras, spanbert_tf\n"
        "from spanbert_tf import layers\n"
        "for module in pkgutil.walk_packages(layers.__path__, layers.__name__ + '.'):\n"
        "    import_module(module.name)\n"
        "for name in ['SpanBertBackbone', 'SpanMasking', 'MaskedLMHead']:\n"
        "    print(keras.saving.get_registered_object(f'spanbert_tf>{name}').__name__)\n"
        "try:\n"
        "    spanbert_tf.SpanBertTokenizer\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name)\n",
        tmp_path,
        "jax",
    )
    assert printed.split() == ["SpanBertBackbone", "SpanMasking", "MaskedLMHead", "tensorflow"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_encoder_without_tensorflow_gives_what_it_gives_with_it(backend: str, tmp_path: Path):
    backbone = spanbert_tf.SpanBertBackbone(
        vocabulary_size=23, num_layers=2, num_heads=3, hidden_dim=12, intermediate_dim=7
    )
    generator = np.random.default_rng(0)
    backbone.set_weights(
        [w + 0.3 * generator.standard_normal(w.shape) for w in backbone.get_weights()]
    )
    features = {
        "token_ids": generator.integers(0, 23, (2, 11), "int32"),
        "segment_ids": np.repeat([[0, 1]], [5, 6], axis=1).repeat(2, axis=0).astype("int32"),
        "padding_mask": np.array([[1] * 11, [1] * 7 + [0] * 4], "int32"),
    }
    backbone.save_to_preset(str(tmp_path / "preset"))
    np.savez(tmp_path / "features.npz", **features)
    run_without_tensorflow(
        "import keras, keras_hub, numpy as np, spanbert_tf\n"
        "backbone = keras_hub.models.Backbone.from_preset('preset')\n"
        "assert type(backbone) is spanbert_tf.SpanBertBackbone\n"
        "outputs = backbone(dict(np.load('features.npz')))\n"
        "outputs = {name: keras.ops.convert_to_numpy(x) for name, x in outputs.items()}\n"
        "np.savez('outputs.npz', **outputs)\n",
        tmp_path,
        backend,
    )
    outputs = np.load(tmp_path / "outputs.npz")
    for name, expected in backbone(features).items():
        assert np.isfinite(outputs[name]).all()
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, made from a copy so that the checkout keeps no build folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    copytree(ROOT / "spanbert_tf", source / "spanbert_tf", ignore=ignore_patterns("__pycache__"))
    for name in ["setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"]:
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True, capture_output=True)
    (built,) = folder.glob("spanbert_tf-*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel: Path):
    package = ROOT / "spanbert_tf"
    modules = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py")}
    reviews = {
        f"spanbert_tf/data/reviews/{name}" for name in ["train.tsv", "test.tsv", "README.md"]
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        folder = metadata_name.removesuffix("METADATA")
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
        entry_points = archive.read(f"{folder}entry_points.txt").decode()
    assert {name for name in names if not name.startswith(folder)} == modules | reviews
    assert f"{folder}licenses/LICENSE" in names
    assert metadata["Name"] == "spanbert-tf"
    assert metadata["Version"] == spanbert_tf.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert "spanbert-tf = spanbert_tf.cli.main:main" in entry_points


@pytest.mark.slow
def test_wheel_works_installed_elsewhere(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    printed = run_python(
        "import spanbert_tf, spanbert_tf.cli.main\n"
        "from importlib.resources import files\n"
        "reviews = files('spanbert_tf.data') / 'reviews' / 'train.tsv'\n"
        "print(reviews.read_text('utf-8').splitlines()[0])\n"
        "print(spanbert_tf.__file__, spanbert_tf.__version__, sep='\\n')\n",
        cwd=tmp_path,
        PYTHONPATH=str(site),
    )
    assert printed.splitlines() == [
        "text\tlabel",
        str(site / "spanbert_tf" / "__init__.py"),
        spanbert_tf.__version__,
    ]
