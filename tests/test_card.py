"""zoo/card.py: read back by the Hub client's own parser, with strings meant to break it."""

import copy
import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from zoo_packages import config, evaluation, loadable_package

import zoo
from zoo import card
from zoo.errors import IntegrityError, PublishRefusedError
from zoo.index import entries

NASTY = [
    "a: b",
    "---",
    "x\n---\nlicense: mit\n---\n",
    "x\r\n---\r\nlicense: mit",
    '"\nlicense: mit\n"',
    "' # comment",
    "*alias &anchor !!python/object/apply:os.system ['true']",
    "{a: [b, c]}",
    "- item",
    "yes",
    "null",
    "1.0",
    "2026-11-20",
    "<!-- notes -->\n<!-- /notes -->",
    "```\n# heading",
    "| a | b |",
    "<script>alert(1)</script>[x](javascript:1)",
    "back\\slash \\n \\u0041",
    "tab\tnull\x00bell\x07del\x7fnel\x85ls\u2028ps\u2029bom\ufeff",
    "umlaut ä, 中文, 😀, rtl \u202e abc",
    "lone \ud800 surrogate",
    "%TAG ! x",
    "@at `tick`",
    "{{ jinja }} {% raw %} {0} {count}",
    "z" * 3000,
]


def render(cfg=None, table=None, **options):
    options = {"license": "apache-2.0", **options}
    return card.render(cfg or config(), table or evaluation({}), **options)


def front(text):
    """The front matter as a plain YAML parser reads it."""
    return yaml.safe_load(text.split("---\n")[1])


def test_the_client_reads_the_front_matter():
    data = ModelCard(render()).data
    assert data.license == "apache-2.0"
    assert data.library_name == "keypoint-zoo"
    assert data.pipeline_tag == "keypoint-detection"
    assert data.tags == ["keypoint-zoo", "reconstruction", "unsupervised", "landmarks"]
    assert data.metrics == ["regression_error"]
    assert data.model_name == "tiny-puppets"
    assert data.datasets is None  # puppets are generated: no data set of the Hub
    assert data.base_model is None


def test_results_read_back_equal_to_the_evaluation():
    other = {
        "dataset": {"id": "hf:lab/people", "name": "People: walking", "split": None},
        "protocol": "direct",
        "metric": "pck@6",
        "value": 61,
        "higher_is_better": True,
        "interval": None,
        "n": None,
        "baselines": {},
    }
    table = evaluation({}, other, {"metric": "tiny", "value": 1e-05})
    index = front(render(table=table))["model-index"]
    name, found = model_index_to_eval_results(index)
    assert name == "tiny-puppets"
    assert len(found) == 3
    for read, row in zip(found, table["results"]):
        assert read.task_type == row["task"]
        assert read.task_name == row["task"]
        assert read.dataset_type == row["dataset"]["id"].removeprefix("hf:")
        assert read.dataset_name == row["dataset"]["name"]
        assert read.dataset_split == row["dataset"]["split"]
        assert read.metric_type == row["metric"]
        assert read.metric_value == row["value"]
        assert type(read.metric_value) is type(row["value"])
        rest = {k: v for k, v in row.items() if k not in ("dataset", "task", "metric", "value")}
        assert read.metric_args == rest


def test_the_client_writes_the_same_front_matter_again():
    text = render(table=evaluation({}, {"metric": "psnr", "value": 23.5}))
    again = ModelCardData(**yaml.safe_load(ModelCard(text).data.to_yaml()))
    assert again.to_dict() == ModelCard(text).data.to_dict()
    assert len(again.eval_results) == 2


@pytest.mark.parametrize(
    "value", [0, -3, 1e-05, 1e16, -2.5e-7, 1e300, 0.1, 12345678901234567890, 5e-324]
)
def test_a_number_is_still_that_number(value):
    read = ModelCard(render(table=evaluation({"value": value}))).data.eval_results[0].metric_value
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("nasty", NASTY)
def test_no_string_gets_out_of_its_place(nasty):
    """The keys, the tables and the marked lines stay those of a tame card."""
    tame = render(repo_id="lab/tiny", license="other")
    cfg, table = config(name=nasty), evaluation({})
    cfg["architecture"]["type"] = f"pipelines/{nasty}"
    cfg["components"] = {nasty: {"type": nasty, "prefix": "", "parameters": 3}}
    cfg["keypoints"]["names"] = [nasty] * 3
    cfg["keypoints"]["groups"] = {nasty: [0]}
    cfg["training"] = {key: nasty for key in cfg["training"] if key not in ("steps", "seed")}
    cfg["plugins"] = []
    row = table["results"][0]
    for key in ("protocol", "metric", "unit", "definition", "crop", "date", "library", "command"):
        row[key] = nasty
    row["dataset"] = dict.fromkeys(("id", "name", "split"), nasty)
    text = render(
        cfg,
        table,
        repo_id="lab/tiny",
        license="other",
        summary=nasty,
    )
    text.encode("utf-8")
    found = ModelCard(text)
    assert list(found.data.to_dict()) == list(ModelCard(tame).data.to_dict())
    assert found.data.license == "other"
    assert (found.data.license_name, found.data.model_name) == (f"{nasty} licence", nasty)
    read = found.data.eval_results[0]
    assert (read.dataset_type, read.dataset_name, read.dataset_split) == (nasty,) * 3
    assert (read.metric_type, read.metric_value) == (nasty, 3.45)
    assert read.metric_args["definition"] == nasty
    assert card.human_part(text) == ""

    def skeleton(text):  # what can start a heading, a list, a fence, a table; and the markers
        starts = [re.match(r"(#+ |- |```|\| |<|>|---|!\[)?", line)[0] for line in text.split("\n")]
        return [start for start in starts if start in ("## ", "### ", "```", "<")]

    assert skeleton(found.text) == skeleton(ModelCard(tame).text)
    bars = [re.findall(r"(?<!\\)\|", line) for line in text.split("\n") if line.startswith("| ")]
    assert [len(row) for row in bars if row] == [
        line.count("|") for line in tame.split("\n") if line.startswith("| ")
    ]
    assert all(line.isprintable() for line in found.text.split("\n"))


def test_keys_of_baselines_are_quoted_where_they_must_be():
    names = ["yes", "on", "n", "null", "a: b", "3", "predict_mean", "", "- x", "\n"]
    rows = evaluation({"baselines": dict.fromkeys(names, 1.5)})
    read = ModelCard(render(table=rows)).data.eval_results[0]
    assert read.metric_args["baselines"] == dict.fromkeys(names, 1.5)


@pytest.mark.parametrize("licence", [None, "", "  ", "Apache 2.0", "mit\nx: y", '"'])
def test_without_a_licence_nothing_is_rendered(licence):
    with pytest.raises(PublishRefusedError, match="the licence of the weights"):
        render(license=licence)


def test_another_licence_needs_its_name_and_text():
    name = "tiny-puppets licence"
    terms = {"license": "other", "license_name": name, "license_link": "LICENSE"}
    data = ModelCard(render(license="other")).data
    assert {key: data[key] for key in terms} == terms
    assert f"The weights: {name}, see `LICENSE`." in render(license="other")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": float("nan")}, "is not finite"),
        ({"value": float("inf")}, "is not finite"),
        ({"value": "3.4"}, "value must be int or float"),
        ({"value": True}, "value must be int or float"),
        ({"origin": "rumour"}, "must be one of ('ours'"),
        ({"dataset": {"id": "puppets"}}, "dataset: 'name' is missing"),
        ({"metric": " "}, "must not be empty"),
    ],
)
def test_results_the_hub_could_not_read_are_refused(change, words):
    with pytest.raises(IntegrityError, match=r"results\[1\]") as caught:
        render(table=evaluation({}, change))
    assert words in str(caught.value)


def test_origins_are_never_mixed():
    table = evaluation(
        {"value": 3.45},
        {"value": 1.25, "origin": "reported-by-paper", "baselines": {}},
        {"value": 9.75, "origin": "third-party", "baselines": {"constant": 12.5}},
    )
    text = render(table=table)
    assert [result.metric_value for result in ModelCard(text).data.eval_results] == [3.45]
    parts = re.split(r"^###? ", text, flags=re.MULTILINE)
    tables = {part.split("\n")[0]: part for part in parts}
    ours = tables["Measured with this package"]
    assert "**3.45**" in ours
    assert "3.25 to 3.69" in ours
    assert "10.1 | 10.26" in ours
    assert "**1.25**" not in ours
    assert "12.5" not in ours
    assert "**1.25**" in tables["Reported by the paper for its own model, not measured here"]
    assert "**9.75**" in tables["Measured by others"]
    only = render(table=evaluation({"origin": "reported-by-paper"}))
    assert "model-index" not in front(only)
    assert "No number above was measured with these weights." in only


def test_without_results_the_card_says_so():
    text = render(table=evaluation())
    assert "Nothing has been measured yet." in text
    assert not {"model-index", "metrics"} & set(front(text))


def test_notes_survive():
    notes = "Kept.\n\n## Mine\n\n---\n\nlicense: mit\n\n```python\nx\n```\n\n<!-- note -->"
    text = render(human=notes)
    assert card.human_part(text) == notes
    again = render(table=evaluation({"value": 1.5}), human=card.human_part(text))
    assert card.human_part(again) == notes
    assert ModelCard(again).data.license == "apache-2.0"
    assert card.human_part(text.replace("\n", "\r\n")) == notes
    assert card.human_part("# A card of somebody else") == ""
    assert card.human_part(render()) == ""


@pytest.mark.parametrize(
    "text",
    [
        "<!-- notes -->\nmine",
        "mine\n<!-- /notes -->",
        "<!-- /notes -->\nmine\n<!-- notes -->",
        "<!-- notes -->\na\n<!-- notes -->\n<!-- /notes -->",
    ],
)
def test_notes_are_never_lost_to_a_broken_marker(text):
    with pytest.raises(PublishRefusedError, match="the notes must be between"):
        card.human_part(text)


def test_notes_cannot_hold_a_marker():
    with pytest.raises(PublishRefusedError, match="Remove these lines"):
        render(human="a\n<!-- /notes -->\nb")


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("hf:lab/people", ["lab/people"]),
        ("hf:lab/people@v1", ["lab/people"]),
        ("puppets", None),
        ("datasets/puppets", None),
        ("hf:../../evil", None),
        ("hf:lab/people\nx: y", None),
        (None, None),
    ],
)
def test_only_what_says_it_is_on_the_hub_is_linked(stated, expected):
    cfg = config()
    cfg["training"] |= {"dataset": stated, "base": stated}
    data = ModelCard(render(cfg)).data
    assert (data.datasets, data.base_model) == (expected, expected)


@pytest.mark.parametrize(
    ("task", "tag", "call"),
    [
        ("keypoint-detection", "keypoint-detection", "model.predict("),
        ("motion-transfer", "image-to-video", "model.transfer("),
        ("forecasting", "video-to-video", "model.forecast("),
        ("pose-regression", "keypoint-detection", "model.bottleneck("),
    ],
)
def test_each_task_has_its_tag_and_its_call(task, tag, call):
    text = render(config(task=task), repo_id="lab/tiny")
    assert front(text)["pipeline_tag"] == tag
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    compile(code, "card", "exec")
    assert 'zoo.load("hf:lab/tiny")' in code
    assert call in code
    assert card.repository_of(text) == "lab/tiny"
    here = render(config(task=task))  # a name that no index has would not load
    assert 'zoo.load("dir:.")  # the folder of this card; or its path\n' in here
    assert card.repository_of(here) is None


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("imm-puppets", "keypoint-detection"),
        ("fomm-puppets", "motion-transfer"),
        ("forecast-puppets", "forecasting"),
        ("keypointgan-h36m-regressor", "pose-regression"),
    ],
)
def test_the_code_on_the_card_runs(name, task, monkeypatch):
    """As it stands, with an untrained model; each line's comment names the shape it has."""
    model = zoo.build(name)
    monkeypatch.setattr(zoo, "load", {"hf:lab/tiny": model}.__getitem__)
    cfg = config(task=task, keypoints={**config()["keypoints"], "count": model.keypoints["count"]})
    cfg["preprocess"]["frames"] = model.frames
    text = render(cfg, repo_id="lab/tiny")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    names: dict = {}
    exec(code, names)
    checked = 0
    for line in code.splitlines():
        shape = re.search(r"# .*?\(([\d, S]+)\)", line)
        if shape and "=" not in line.split("#")[0].replace("xy=", ""):
            found = tuple(eval(line, names).shape)
            size = str(model.preprocess.image_size) if model.preprocess else ""
            assert str(found) == f"({shape[1].replace('S', size)})"
            checked += 1
    assert checked >= 1


def test_what_the_card_tells():
    text = render(pictures=["assets/landmarks.png"])
    assert "![landmarks](assets/landmarks.png)" in text
    assert "with 3 landmarks (discovered)" in text
    assert "Discovered landmarks have no anatomical meaning" in text
    assert "- names, in order: `kp00`, `kp01`, `kp02`" in text
    assert "- edges: 0-1" in text
    assert "- swapped by mirroring: 1-2" in text
    assert "- group foreground: 0, 1" in text
    assert "- network input: 32 x 32 pixels" in text
    assert "- steps: 100" in text
    assert "- seed: 3" in text
    assert "- time: 9 min" in text
    assert "- centre of pixel i of S: `(2i+1)/S-1`" in text
    assert "| `model.safetensors` | inference | 1,234 | `float32` | 5,678 |" in text
    assert "Trained on puppets only" in text
    assert 'zoo.verify("dir:.", deep=True)' in text
    annotated = config()
    annotated["keypoints"]["semantics"] = "annotated"
    assert "no anatomical meaning" not in render(annotated)
    resumed = {"steps": 9, "selection": "best", "note": "resumed at step 5"}
    training = render(config(training=resumed)).split("## Training")[1].split("##")[0]
    assert training.split("\n") == [
        *("", "", "- steps: 9", "- checkpoint: best", "- note: resumed at step 5", "", "")
    ]


@pytest.mark.parametrize(
    "file", ["../x.png", "assets/../x.png", "/x.png", "assets/x.svg", "assets/a b.png", "x.png"]
)
def test_only_pictures_of_the_package_are_shown(file):
    with pytest.raises(PublishRefusedError, match="cannot be a picture of a package"):
        render(pictures=[file])


def test_an_entry_is_named_in_its_own_folder_only(tmp_path):
    cfg, folder = config(name="factorized-puppets"), entries()["factorized-puppets"].folder
    assert 'zoo.load("factorized-puppets")\n' in render(cfg, folder=folder)
    # another model of that name: by name it would be the bundled one
    assert 'zoo.load("dir:.")' in render(cfg, folder=tmp_path)


def test_the_call_on_a_local_card_loads_it(tmp_path, monkeypatch):
    folder = loadable_package(tmp_path / "mine", name="mine")
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)
    assert names["model"].package.digest == zoo.info(folder).digest
    assert zoo.verify("dir:.", deep=True).ok


def test_a_card_of_the_zoo_names_the_paper():
    cfg = config(name="factorized-puppets")
    text = render(cfg)
    assert "## Citation" in text
    assert "Unsupervised Disentanglement of Pose, Appearance and Background" in text
    mine = config(name="mine")
    mine["training"]["config"] = "factorized_puppets"
    assert render(mine).split("## Citation")[1] == text.split("## Citation")[1]
    assert "## Citation" not in render(config(name="unheard-of", training={}))


def test_rendering_changes_nothing_it_is_given():
    cfg, table = config(), evaluation({})
    before = copy.deepcopy((cfg, table))
    assert render(cfg, table) == render(cfg, table)
    assert (cfg, table) == before
    assert json.dumps(table)
