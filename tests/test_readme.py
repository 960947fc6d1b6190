"""Every example of README.md runs, in its order and in one folder, on files and models made small.

Python examples share one namespace, as the README says that they build on one another; commands of
`spanbert-tf` are run in this process, with fewer steps.  Other programs' commands are checked for
what they take from this project: targets, extras, and a server's request and folder.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import keras
import pytest
import tensorflow as tf
from packaging.requirements import Requirement

from spanbert_tf import (
    SpanBertBackbone,
    SpanBertCoreferenceResolver,
    SpanBertPretrainer,
    SpanBertQuestionAnswerer,
    SpanBertRelationExtractor,
    SpanBertTextClassifier,
    SpanBertTextEmbedder,
    SpanBertTokenClassifier,
    SpanBertTokenizer,
    backbone,
    handles,
    ready_models,
    save_adapter,
)
from spanbert_tf.cli.main import main
from spanbert_tf.export.hub import export_encoder
from spanbert_tf.export.serving import export_task
from spanbert_tf.export.task_loading import load_task
from spanbert_tf.training import fine_tuning
from spanbert_tf.training.pretraining import run as pretraining_run
from tests.checkpoints.fake_hub import FakeHub
from tests.checkpoints.foreign_folders import write_checkpoint
from tests.conftest import ROOT

READY_MODELS = ready_models.ready_models()
README = (ROOT / "README.md").read_text("utf-8")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"[unused{i}]" for i in range(8))]
PIECES = [*SPECIAL, *".,?!", *LETTERS, *LETTERS.upper(), *(f"##{letter}" for letter in LETTERS)]
TINY = (1, 2, 8, 12)  # layers, heads, hidden, intermediate

# Options that win, as they come last.
FASTER = {
    "finetune": ("--epochs", "1", "--batch-size", "32"),
    "pretrain": ("--steps", "2", "--token-budget", "512", "--num-buckets", "1"),
    "prepare": ("--workers", "1", "--shard-bytes", "1000"),
}
IN_ITS_OWN_PROCESS = "# In a process of its own.\n"

CONLL = "Ada B-PER\nmet O\nBo B-PER\n. O\n\nOslo B-LOC\nis O\ncold O\n. O\n\n" * 4
LABELLED = "text\tlabel\n" + "good film\tgood\nbad film\tbad\n" * 6
RELATIONS = "text\tlabel\n" + (
    "<e1>Ada</e1> met <e2>Bo</e2>.\tknows\n<e1>Ada</e1> has <e2>tea</e2>.\tOther\n" * 6
)
CLUSTERS = {
    "text": "Ada met Bo. She saw him.",
    "clusters": [[[0, 3], [12, 15]], [[8, 10], [20, 23]]],
}


def squad() -> str:
    """SQuAD 2.0's form: of two questions on each text one has no answer."""
    answer = {"text": "Oslo", "answer_start": 13}
    paragraphs = [
        {
            "context": "Ada lives in Oslo.",
            "qas": [
                {"id": f"{n}a", "question": "Where is Ada?", "answers": [answer]},
                {"id": f"{n}b", "question": "Who met Bo?", "answers": [], "is_impossible": True},
            ],
        }
        for n in range(4)
    ]
    return json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]})


FILES = {
    **dict.fromkeys(("my.tsv", "dev.tsv", "test.tsv", "reviews.tsv"), LABELLED),
    "spanbert_tf/data/reviews/test.tsv": LABELLED,
    **dict.fromkeys(("train.conll", "dev.conll"), CONLL),
    "train.tsv": RELATIONS,
    "pairs.tsv": "anchor\tpositive\n" + "".join(f"film {c}\tgood {c}\n" for c in LETTERS),
    "translations.tsv": "source\ttarget\n" + "good film\tguter film\n" * 12,
    **dict.fromkeys(("train-v2.0.json", "dev-v2.0.json"), squad()),
    "asked.tsv": "question\tcontext\nWhere is Ada?\tAda lives in Oslo.\n",
    **dict.fromkeys(
        ("litbank/train/a.jsonl", "litbank/dev/b.jsonl"), f"{json.dumps(CLUSTERS)}\n" * 4
    ),
    "texts.txt": "good film\nbad film\n",
    "texts/a.txt": "\n\n".join(f"ada met bo {LETTERS[i % 26]} in oslo ." for i in range(200))
    + "\n",
}


def only_if_read(export: Callable[..., None]) -> Callable[..., None]:
    """The same export, of no folder that the README does not read again: it takes long."""

    def export_or_not(*arguments: Any, **options: Any) -> None:
        if f" {arguments[-1]} " in README:
            export(*arguments, **options)

    return export_or_not


class Example(NamedTuple):
    """A fenced block: its language, what it says, and the line of the README that it begins at."""

    language: str
    code: str
    line: int


def examples() -> list[Example]:
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [Example(m[1], m[2], README.count("\n", 0, m.start(2)) + 1) for m in found]


class Project:
    """A folder that looks to the README's examples like the project's own, and runs them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.programs: dict[str, Callable[[list[str]], None]] = {
            "spanbert-tf": self.run_command,
            "make": self.make,
            "git": self.clone,
            "cd": self.enter,
            "pip": self.install,
            "export": self.set_variable,
            "tensorflow_model_server": self.serve,
            "curl": self.ask_server,
        }

    def run(self, example: Example) -> None:
        if example.language == "bash":
            for command in example.code.replace("\\\n", " ").splitlines():
                words = shlex.split(command.replace("$PWD", os.fspath(self.folder)), comments=True)
                self.programs[words[0]](words[1:])
        elif example.code.startswith(IN_ITS_OWN_PROCESS):
            self.run_apart(example)
        else:
            # Lines of errors are those of the README.
            code = "\n" * (example.line - 1) + example.code
            exec(compile(code, ROOT / "README.md", "exec"), self.namespace)  # noqa: S102

    def run_apart(self, example: Example) -> None:
        """The lane of Keras 2."""
        if sys.version_info >= (3, 12):
            pytest.skip("TensorFlow Addons ends with Python 3.11")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", example.code],
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": os.fspath(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def run_command(self, words: list[str]) -> None:
        words += FASTER.get(words[0], ())
        words += ("--folds", "2") if "--folds" in words else ()
        assert main(words) == 0, self.capsys.readouterr().err
        assert self.capsys.readouterr().out

    def make(self, words: list[str]) -> None:
        (target,) = words
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)

    def clone(self, words: list[str]) -> None:
        verb, address = words
        assert verb == "clone"
        self.cloned = Path(urllib.parse.urlparse(address).path).stem

    def enter(self, words: list[str]) -> None:
        assert words == [self.cloned]

    def install(self, words: list[str]) -> None:
        parser = ConfigParser()
        parser.read(ROOT / "setup.cfg", encoding="utf-8")
        for word in words:
            if word.startswith("."):  # This project, and perhaps extras of it.
                extras = Requirement(f"it{word[1:]}").extras
                assert extras <= set(parser["options.extras_require"])
            else:
                assert word in ("install", "--editable")

    def set_variable(self, words: list[str]) -> None:
        """The cluster has hosts that are not there: what is left is its form."""
        name, _, value = words[0].partition("=")
        assert name == "TF_CONFIG"
        config = json.loads(value)
        assert 0 <= config["task"]["index"] < len(config["cluster"][config["task"]["type"]])

    def serve(self, words: list[str]) -> None:
        """TF Serving takes the highest number in the folder for a model's version."""
        options = dict(word.removeprefix("--").split("=") for word in words)
        versions = [p for p in Path(options["model_base_path"]).iterdir() if p.name.isdecimal()]
        self.model = max(versions, key=lambda path: int(path.name))
        self.address = f"localhost:{options['rest_api_port']}/v1/models/{options['model_name']}"

    def ask_server(self, words: list[str]) -> None:
        flag, body, url = words
        assert (flag, url) == ("-d", f"{self.address}:predict")
        signature = tf.saved_model.load(os.fspath(self.model)).signatures["serving_default"]
        (name,) = signature.structured_input_signature[1]
        texts = json.loads(body)["instances"]
        served = signature(**{name: tf.constant(texts)})
        answers = load_task(self.model)(texts)
        assert len(answers) == len(texts)
        assert {len(value) for value in served.values()} == {len(texts)}


@pytest.fixture
def eager() -> Iterator[None]:
    """Tracing and compiling take longer than a step of such models."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def write_ready_models(
    backbone: SpanBertBackbone, tokenizer: SpanBertTokenizer, folder: Path
) -> None:
    """Those that the README names, on the encoder there; the project has them too."""
    for name, of, head in (
        ("entities_en", SpanBertTokenClassifier, {"entity_groups": ["PER", "LOC"]}),
        ("sentiment_en", SpanBertTextClassifier, {"class_names": ["negative", "positive"]}),
        ("intents_banking_en", SpanBertTextClassifier, {"class_names": ["balance", "card"]}),
        ("relations_en", SpanBertRelationExtractor, {"class_names": ["Other", "Cause-Effect"]}),
        ("questions_en", SpanBertQuestionAnswerer, {}),
        ("coreference_en", SpanBertCoreferenceResolver, {}),
        ("embeddings_en", SpanBertTextEmbedder, {}),
    ):
        length = 128 if of in (SpanBertQuestionAnswerer, SpanBertRelationExtractor) else 32
        config = backbone.get_config()
        if of is SpanBertCoreferenceResolver:  # It reads a text as a whole.
            length, config = 4096, {**config, "attention": "bucketed", "long_positions": "restart"}
        adapted = SpanBertBackbone.from_config(config)
        adapted.set_weights(backbone.get_weights())
        adapted.enable_lora(1)
        task = of(
            adapted, preprocessor=of.preprocessor_cls(tokenizer, sequence_length=length), **head
        )
        target = folder / "adapters" / name
        save_adapter(task, target, folder / "spanbert_mini_en_uncased" / "1")
        assert name in READY_MODELS
        (target / "README.md").write_text(f"# {name}\n\nTiny.\n")


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    eager: None,
) -> Project:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    keras.utils.set_random_seed(1)
    encoder = SpanBertPretrainer(
        SpanBertBackbone(len(PIECES), *TINY),
        preprocessor=SpanBertPretrainer.preprocessor_cls(SpanBertTokenizer(PIECES)),
    )
    shipped = tmp_path / "saved_models" / "spanbert_mini_en_uncased" / "1"
    tokenizer = encoder.preprocessor.tokenizer
    export_encoder(encoder, tokenizer, shipped)
    monkeypatch.setattr(handles, "_SHIPPED", shipped)
    monkeypatch.setattr(ready_models, "SHIPPED_MODELS", tmp_path / "saved_models")
    write_ready_models(encoder.backbone, tokenizer, tmp_path / "saved_models")
    # What `make demo` leaves.
    classifier = SpanBertTextClassifier(
        encoder.backbone,
        preprocessor=SpanBertTextClassifier.preprocessor_cls(tokenizer, sequence_length=32),
        class_names=["bad", "good"],
    )
    export_task(classifier, tmp_path / "saved_models" / "reviews" / "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fine_tuning, "export_task", only_if_read(export_task))
    monkeypatch.setattr(pretraining_run, "export_encoder", only_if_read(export_encoder))

    hub = FakeHub(write_checkpoint(tmp_path / "hub" / "spanbert"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    for size, (*_, vocabulary) in backbone.SIZES.items():
        monkeypatch.setitem(backbone.SIZES, size, (*TINY, vocabulary))
    fit = SpanBertPretrainer.fit
    monkeypatch.setattr(
        SpanBertPretrainer,
        "fit",
        lambda self, *args, **options: fit(
            self, *args, **{**options, "epochs": 1, "steps_per_epoch": 1}
        ),
    )
    return Project(tmp_path, capsys)


def test_every_example_says_its_language():
    assert {example.language for example in examples()} == {"bash", "python"}
    assert README.count("\n```") == 2 * len(examples())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
def test_examples_run(project: Project):
    for example in examples():
        try:
            project.run(example)
        except Exception as error:
            error.add_note(f"in the example at line {example.line} of README.md")
            raise


def anchors(page: Path) -> set[str]:
    """What links may name on a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            path = page.parent / name if name else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target
