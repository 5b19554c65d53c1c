import base64
import io
import json
import random
import warnings
from pathlib import Path

import pytest
from plugin_install import install_plugin

from hpcsweep.errors import DatasetError, HpcsweepError, SpecError
from hpcsweep.load.datasets import registry
from hpcsweep.load.datasets.base import DatasetWarning, check_files, sha256
from hpcsweep.load.datasets.shapes import SHAPES, example
from hpcsweep.load.datasets.text import TextMaker
from hpcsweep.load.tokenizer import ModelTokenizer, find_tokenizer
from hpcsweep.registry import Registry
from hpcsweep.spec.workload import DatasetSpec, Workload
from hpcsweep.spec.yaml_text import parse_yaml


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def requests_of(kind: str, base_dir: Path, count: int, *, tokenizer=None, seed: int = 0, **options):
    dataset, read = registry.read_options(DatasetSpec(kind=kind, **options))
    facts = dataset.facts(read, base_dir, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return facts, dataset.requests(read, [Path(f) for f in facts.files], tokenizer, count, seed)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A model folder with a small byte-level BPE tokenizer that puts a special token before every text."""
    tokenizers = pytest.importorskip("tokenizers")
    words = Path(__file__).parents[2] / "hpcsweep" / "load" / "datasets" / "text.py"
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900,
        show_progress=False,
        special_tokens=["<s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([words.read_text(encoding="utf-8")] * 3, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


# --- the registry ---


@pytest.mark.parametrize("kind", sorted(registry.DATASETS.builtin))
def test_every_built_in_kind_keeps_the_contract(kind):
    dataset = registry.DATASETS.get(kind)
    assert dataset.name == kind
    assert dataset.needs_tokenizer in (True, False)
    assert dataset.options_model.model_config["extra"] == "forbid"
    assert all(field.description for field in dataset.options_model.model_fields.values())


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"kind": "radnom"}, "unknown_dataset_kind", "did you mean 'random'"),
        ({"kind": "random", "input_length": 3}, "unknown_dataset_option", "did you mean 'input_len'"),
        ({"kind": "random", "input_len": 0}, "invalid_dataset_option", "random: input_len: "),
        ({"kind": "random", "range_ratio": 1.5}, "invalid_dataset_option", "range_ratio.input"),
        ({"kind": "shape", "name": "longish"}, "invalid_dataset_option", "did you mean 'long'"),
        ({"kind": "shape", "name": "sharegpt_1000"}, "invalid_dataset_option", "required for sharegpt_1000"),
        ({"kind": "samples"}, "invalid_dataset_option", "samples: path: "),
    ],
)
def test_a_wrong_option_names_the_right_one(options, code, text):
    with pytest.raises(HpcsweepError) as caught:
        registry.read_options(DatasetSpec(**options))
    assert caught.value.code == code
    assert text in str(caught.value)


@pytest.fixture
def fresh_registry(monkeypatch):
    """Makes a registry that finds the plugins of the test."""

    def make() -> Registry:
        known = registry.DATASETS
        fresh = Registry(known.group, known.what, known.builtin, SpecError)
        monkeypatch.setattr(registry, "DATASETS", fresh)
        return fresh

    return make


def test_a_plugin_adds_a_kind(tmp_path, monkeypatch, fresh_registry):
    code = "from hpcsweep.load.datasets.random import RandomDataset\nclass Mine(RandomDataset):\n    name = 'mine'\n"
    install_plugin(tmp_path, monkeypatch, "hpcsweep.datasets", code)
    assert "mine" in fresh_registry().names()
    dataset, options = registry.read_options(DatasetSpec(kind="mine", input_len=5))
    assert (dataset.name, options.input_len) == ("mine", 5)


def test_a_broken_plugin_is_a_warning_and_an_error_that_name_it(tmp_path, monkeypatch, fresh_registry):
    install_plugin(tmp_path, monkeypatch, "hpcsweep.datasets", "raise RuntimeError('broken inside')\n")
    datasets = fresh_registry()
    with pytest.warns(UserWarning, match="my_plugin:Mine"), pytest.raises(SpecError, match="broken inside") as caught:
        datasets.get("mine")
    assert caught.value.code == "plugin_broken"
    assert datasets.get("random").name == "random"


def test_the_example_of_a_plugin_keeps_the_contract(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plugins" / "bursts"))
    from hpcsweep_bursts import Bursts

    dataset = Bursts()
    options = dataset.options_model(size=2, gap_s=5, requests=5)
    assert registry.facts_of(dataset, options, Path(), None, None).requests == 5
    assert [r.due_s for r in dataset.requests(options, [], None, 5, 0)] == [0, 0, 5, 5, 10]


# --- files ---


def test_files_are_checked_by_their_content(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "x"})
    files = {str(path): sha256(path)}
    assert check_files(files) == [path]
    path.write_text("other", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        check_files(files)
    assert caught.value.code == "data_changed"
    with pytest.raises(DatasetError, match="No such file"):
        sha256(tmp_path / "missing")


# --- samples ---


def test_samples_in_the_order_of_the_file_and_again(tmp_path):
    write(
        tmp_path / "s.jsonl",
        {"id": "b", "prompt": "x", "max_tokens": 7},
        {"messages": [{"role": "user", "content": "y"}]},
    )
    facts, requests = requests_of("samples", tmp_path, 3, path="s.jsonl")
    assert (facts.requests, facts.prompt_tokens_max, facts.completion_tokens_max) == (2, None, None)
    assert [(r.sample, r.prompt, r.max_tokens) for r in requests] == [("b", "x", 7), ("1", None, None), ("b#2", "x", 7)]
    _, (only,) = requests_of("samples", tmp_path, 1, path="s.jsonl", only=["1"])
    assert only.messages == [{"role": "user", "content": "y"}]


def test_samples_as_a_json_list_with_counts(tmp_path):
    rows = [{"prompt": "x", "prompt_tokens": 5, "max_tokens": 3}, {"prompt": "y", "prompt_tokens": 9, "max_tokens": 2}]
    (tmp_path / "s.json").write_text(json.dumps(rows), encoding="utf-8")
    facts, _ = requests_of("samples", tmp_path, 1, path="s.json")
    assert (facts.prompt_tokens_max, facts.completion_tokens_max) == (9, 3)
    assert list(facts.files) == [str(tmp_path / "s.json")]


@pytest.mark.parametrize(
    ("text", "code", "location"),
    [
        ("", "dataset_empty", "s.jsonl"),
        ("[1", "data_syntax", "s.jsonl"),
        ('{"prompt": "x"}\n{"promt": "y"}\n', "invalid_sample", "line 2: promt"),
        ('{"prompt": "x", "messages": []}\n', "invalid_sample", "line 1: "),
        ('{"prompt": "x", "id": 1}\n{"prompt": "x", "id": "1"}\n', "duplicate_id", "line 2: duplicate id '1'"),
        ('{"prompt": "x", "max_tokens": 0}\n', "invalid_sample", "line 1: max_tokens"),
        ("[3]", "invalid_sample", "sample 1"),
    ],
)
def test_an_error_in_a_samples_file_names_the_line(tmp_path, text, code, location):
    (tmp_path / "s.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        requests_of("samples", tmp_path, 1, path="s.jsonl")
    assert caught.value.code == code
    assert location in caught.value.message


def test_an_unknown_sample_names_the_nearest(tmp_path):
    write(tmp_path / "s.jsonl", {"id": "medium", "prompt": "x"})
    with pytest.raises(DatasetError, match="medium"):
        requests_of("samples", tmp_path, 1, path="s.jsonl", only=["medum"])


# --- random text ---


@pytest.mark.parametrize("tokens", [2, 3, 17, 500, 4000])
def test_random_prompts_have_exactly_the_tokens_that_the_server_will_count(model, tokens):
    tokenizer = ModelTokenizer(model / "tokenizer.json")
    facts, requests = requests_of("random", model, 4, tokenizer=tokenizer, input_len=tokens, output_len=9)
    assert [len(tokenizer.encode(r.prompt)) for r in requests] == [tokens] * 4 == [r.prompt_tokens for r in requests]
    assert len({r.prompt for r in requests}) == 4
    assert (facts.prompt_tokens_max, facts.completion_tokens_max) == (tokens, 9)


def test_a_vocabulary_of_lone_bytes_gives_every_length(tmp_path):
    """Few words, and bytes that are no text by themselves: such as scripts/make-tiny-model writes."""
    tokenizers = pytest.importorskip("tokenizers")
    small = tokenizers.Tokenizer(tokenizers.models.BPE())
    small.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    small.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=alphabet)
    small.train_from_iterator(["one and another one and then some"], trainer)
    small.save(str(tmp_path / "tokenizer.json"))
    maker = TextMaker(ModelTokenizer(tmp_path / "tokenizer.json"))
    for tokens in (1, 2, 4, 8, 16, 512):
        for seed in range(100):
            text, _ = maker.text(random.Random(seed), tokens)
            assert len(small.encode(text).ids) == tokens


def test_a_shared_prefix_is_shared_and_counted(model):
    tokenizer = ModelTokenizer(model / "tokenizer.json")
    _, requests = requests_of("random", model, 3, tokenizer=tokenizer, input_len=50, prefix_len=200)
    ids = [tokenizer.encode(r.prompt) for r in requests]
    assert {len(one) for one in ids} == {250}
    shared = next(n for n in range(250) if len({one[n] for one in ids}) > 1)
    assert shared >= 198


def test_a_prompt_shorter_than_what_the_tokenizer_adds_is_an_error(model):
    with pytest.raises(DatasetError, match="no text of exactly 0 tokens"):
        TextMaker(ModelTokenizer(model / "tokenizer.json")).text(random.Random(0), 0)


def test_lengths_are_drawn_from_the_range(tmp_path):
    ratio = {"input": 0.5, "output": 0.25}
    facts, requests = requests_of("random", tmp_path, 300, input_len=100, output_len=20, range_ratio=ratio)
    assert {r.prompt_tokens for r in requests} >= {50, 150} and len(requests[0].prompt.split()) == requests[
        0
    ].prompt_tokens
    assert {r.max_tokens for r in requests} == set(range(15, 26))
    assert (facts.prompt_tokens_max, facts.completion_tokens_max) == (150, 25)


def test_the_first_requests_do_not_depend_on_how_many(tmp_path):
    few, many = (requests_of("random", tmp_path, n, input_len=20, seed=5)[1] for n in (3, 9))
    assert few == many[:3]
    assert few != requests_of("random", tmp_path, 3, input_len=20, seed=6)[1]


def test_without_a_tokenizer_it_is_said(tmp_path):
    dataset, options = registry.read_options(DatasetSpec(kind="random"))
    with pytest.warns(DatasetWarning, match="counted in words"):
        dataset.requests(options, [], None, 1, 0)


# --- the tokenizer ---


def test_the_tokenizer_is_found_in_a_folder_or_in_the_cache(model, tmp_path, monkeypatch):
    cached = tmp_path / "hub" / "models--org--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc", encoding="ascii")
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "snapshots" / "abc" / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in (str(model), "org/name"):
        tokenizer, why = find_tokenizer(name)
        assert why == "" and tokenizer is not None and tokenizer.piece(0) is None
    assert find_tokenizer("org/other") == (None, "tokenizer.json of org/other was not found on this machine")


def test_a_damaged_tokenizer_is_an_error(tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        find_tokenizer(str(tmp_path))
    assert caught.value.code == "tokenizer_unreadable"


# --- sharegpt ---


def conversation(name: str, *turns: str) -> dict[str, object]:
    return {"id": name, "conversations": [{"from": "human", "value": turn} for turn in turns]}


def test_sharegpt_is_filtered_and_shuffled_as_by_vllm(tmp_path):
    """Seed 0, one token a word-of-four-characters: the order is random.Random(0).shuffle's."""
    entries = [conversation(f"c{n}", f"question {n} " + "word " * 20, "answer " * 10) for n in range(6)]
    entries += [
        conversation("short prompt", "hi", "answer " * 10),
        conversation("short answer", "question " * 10, "no"),
        conversation("long prompt", "x" * 4100, "answer " * 10),
        conversation("long both", "x" * 4000, "y" * 4400),
        conversation("one turn", "question " * 10),
        {"id": "no turns"},
    ]
    (tmp_path / "sg.json").write_text(json.dumps(entries), encoding="utf-8")
    facts, requests = requests_of("sharegpt", tmp_path, 8, path="sg.json")
    assert facts.prompt_tokens_max == 1024
    assert sorted(r.sample for r in requests[:6]) == [f"c{n}" for n in range(6)]
    order = [e for e in entries if len(e.get("conversations", [])) >= 2]
    __import__("random").Random(0).shuffle(order)
    assert [r.sample for r in requests[:6]] == [e["id"] for e in order if str(e["id"]).startswith("c")]
    drawn_again = __import__("random").Random(0)
    assert [r.sample.split("#")[0] for r in requests[6:]] == [drawn_again.choice(requests[:6]).sample for _ in range(2)]
    assert requests[0].max_tokens == 18  # "answer " * 10, four characters a token
    _, stated = requests_of("sharegpt", tmp_path, 7, path="sg.json", output_len=3)
    assert {r.max_tokens for r in stated} == {3} and "short answer" in {r.sample for r in stated}


@pytest.mark.parametrize("text", ["{", "[1]", '[{"conversations": [{"from": 1}, {"value": 2}]}]', '{"a": 1}'])
def test_what_is_no_sharegpt_file_is_told(tmp_path, text):
    (tmp_path / "sg.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match="not a ShareGPT file"):
        requests_of("sharegpt", tmp_path, 1, path="sg.json")


def test_no_conversation_of_the_right_length(tmp_path):
    (tmp_path / "sg.json").write_text(json.dumps([conversation("a", "hi", "x" * 40)]), encoding="utf-8")
    with pytest.raises(DatasetError, match="no conversation passes"):
        requests_of("sharegpt", tmp_path, 1, path="sg.json")


# --- traces ---


def test_a_trace_keeps_times_lengths_and_shared_blocks(tmp_path):
    rows = [
        {"timestamp": 4000, "input_length": 12, "output_length": 5, "hash_ids": [1, 2]},
        {"timestamp": 3000, "input_length": 10, "output_length": 4, "hash_ids": [1, 3]},
        {"timestamp": 3500, "input_length": 0, "output_length": 4},
    ]
    write(tmp_path / "t.jsonl", *rows)
    facts, requests = requests_of("trace", tmp_path, 9, path="t.jsonl", block_tokens=4, speed=2)
    assert (facts.requests, facts.prompt_tokens_max, facts.completion_tokens_max) == (2, 12, 5)
    assert [(r.due_s, r.max_tokens, len(r.prompt.split())) for r in requests] == [(0.0, 4, 10), (0.5, 5, 12)]
    first, second = (r.prompt.split() for r in requests)
    assert first[:4] == second[:4] and first[4:8] != second[4:8]


def test_a_trace_as_csv_with_columns_of_its_own(tmp_path):
    (tmp_path / "t.csv").write_text("TIME,In,Out\n1.5,3,2\n3.5,4,1\n", encoding="utf-8")
    names = {"time": "TIME", "input": "In", "output": "Out", "time_unit_s": 1}
    _, requests = requests_of("trace", tmp_path, 5, path="t.csv", **names)
    assert [r.due_s for r in requests] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            '{"timestamp": 1, "input_len": 3, "output_length": 1}\n',
            "column_missing",
            "line 1: no column 'input_length'",
        ),
        (
            '{"timestamp": "soon", "input_length": 3, "output_length": 1}\n',
            "invalid_column",
            "column 'timestamp': 'soon'",
        ),
        ("[1]\n", "data_syntax", "line 1"),
        ("nothing\n", "data_syntax", "t.jsonl"),
        ("", "dataset_empty", "t.jsonl"),
    ],
)
def test_an_error_in_a_trace_names_the_line(tmp_path, text, code, message):
    (tmp_path / "t.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        requests_of("trace", tmp_path, 1, path="t.jsonl")
    assert caught.value.code == code
    assert message in caught.value.message


# --- named shapes ---


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_its_lengths(tmp_path, name):
    facts, (request,) = requests_of("shape", tmp_path, 1, name=name)
    assert (facts.prompt_tokens_max, facts.completion_tokens_max) == SHAPES[name]
    assert (len(request.prompt.split()), request.max_tokens) == SHAPES[name]


@pytest.mark.parametrize("name", [*SHAPES, "sharegpt_1000", "batch_sweep"])
def test_the_example_of_a_shape_is_read_by_the_experiment_file(name):
    document, _ = parse_yaml("workloads:\n" + example(name), "x.yaml")
    workloads = [Workload.model_validate({"name": key, **body}) for key, body in document["workloads"].items()]
    for workload in workloads:
        registry.read_options(workload.dataset)
    concurrencies = [workload.arrival.max_concurrency for workload in workloads]
    assert name != "batch_sweep" or concurrencies == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


# --- Hugging Face ---


@pytest.fixture
def hf_folder(tmp_path) -> Path:
    pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.new("RGB", (2, 2), "red").save(out, format="PNG")
    folder = tmp_path / "arena"
    folder.mkdir()
    rows = [
        {"turns": [{"content": f"what is {n}?"}], "picture": base64.b64encode(out.getvalue()).decode()}
        for n in range(4)
    ]
    write(folder / "train-00000.jsonl", *rows)
    write(folder / "test-00000.jsonl", {"turns": [], "picture": ""})
    return folder


def test_hf_rows_of_the_split_by_the_seed(hf_folder):
    facts, requests = requests_of("hf", hf_folder.parent, 6, path="arena", prompt="turns.0.content", output_len=5)
    assert [Path(path).name for path in facts.files] == ["train-00000.jsonl"]
    assert sorted(r.prompt for r in requests[:4]) == [f"what is {n}?" for n in range(4)]
    assert [r.sample for r in requests[4:]] == [f"{r.sample}#2" for r in requests[:2]]


def test_hf_images_become_data_urls():
    from hpcsweep.load.datasets.hf import _image_url

    image = pytest.importorskip("PIL.Image")
    url = _image_url(image.new("RGBA", (2, 2)), "row 0")
    assert base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))[:2] == b"\xff\xd8"
    assert _image_url({"bytes": b"\x89PNG..."}, "row 0").startswith("data:image/png;base64,")
    with pytest.raises(DatasetError, match="row 0: expected an image, got int"):
        _image_url(3, "row 0")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"path": "arena"}, "prompt_field_unknown", "arena"),
        ({"path": "arena", "prompt": "turns.7.content"}, "field_missing", "'turns.7.content' not found: no '7'"),
        ({"path": "arena", "prompt": "turns"}, "invalid_sample", "expected text at turns, got list"),
        ({"path": "nowhere", "prompt": "x"}, "dataset_not_cached", "nowhere"),
    ],
)
def test_hf_errors_name_the_value(hf_folder, options, code, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DatasetError) as caught:
        requests_of("hf", hf_folder.parent, 1, **options)
    assert caught.value.code == code
    assert message in caught.value.message


def test_hf_without_its_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "train.jsonl", {"q": "x"})
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DatasetError) as caught:
        requests_of("hf", tmp_path, 1, path="d", prompt="q")
    assert "hpcsweep[hf]" in caught.value.hint
