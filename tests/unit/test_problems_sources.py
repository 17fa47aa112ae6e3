"""Sources: every format says the same problems, columns are mapped, and what is wrong is named with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd.config import ProblemsConfig, SourceConfig
from mopd.core.errors import ConfigError, ProblemError
from mopd.problems import GENERATED, VERIFIER_OF_KIND, load_problems, read_jsonl, read_problems
from mopd.problems.sources import is_network_error

DATA = Path(os.environ.get("MOPD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")

AIME = [
    {"ID": f"2024-I-{n}", "Problem": f"Find the remainder of {n}^{n} by 7.", "Answer": n**n % 7, "Solution": f"So {n}."}
    for n in range(1, 9)
]
"""Records as sets of the American Invitational Mathematics Examination have them."""
AIME_COLUMNS = {"prompt": "Problem", "answer": "Answer", "id": "ID", "solution": "Solution"}


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def read(source, needs_answer=True, **fields):
    return read_problems(SourceConfig(source=str(source), **fields), 0, needs_answer)


def refused(source, *says, error=ProblemError, **fields):
    """The error that reading raises; it holds all of `says` and what to do, and is no novel."""
    with pytest.raises(error) as caught:
        read(source, **fields)
    text = str(caught.value)
    assert all(word in text for word in says), text
    assert caught.value.do
    assert len(text) < 1000
    return caught.value


def record(number, **fields):
    return {"id": f"r{number}", "prompt": f"What is {number}?", "answer": str(number)} | fields


def write(path, text):
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def write_parquet(path, records):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    return path


# --- formats --------------------------------------------------------------------------------------------------------


def in_every_format(tmp_path, records):
    """The same records under the sources that can hold them."""
    lines = "".join(json.dumps(r) + "\n" for r in records)
    folder = tmp_path / "folder"
    folder.mkdir()
    write_parquet(folder / "train.parquet", records)
    datasets.Dataset.from_list(records).save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=datasets.Dataset.from_list(records)).save_to_disk(tmp_path / "saved-dict")
    return {
        "JSONL": write(tmp_path / "a.jsonl", lines),
        "JSON lines called .json": write(tmp_path / "b.json", lines),
        "an array": write(tmp_path / "c.json", records),
        "an array called .jsonl": write(tmp_path / "c.jsonl", records),
        "a printed array": write(tmp_path / "d.json", "\n " + json.dumps(records, indent=2)),
        "an object with a list": write(tmp_path / "e.json", {"version": 1, "tags": ["x"], "data": records}),
        "the same, printed": write(tmp_path / "f.json", json.dumps({"version": 1, "data": records}, indent=1)),
        "a record a line in an object": write(
            tmp_path / "g.json", '{"data": [\n' + ",\n".join(json.dumps(r) for r in records) + "\n]}"
        ),
        "parquet": write_parquet(tmp_path / "h.parquet", records),
        "parquet under another name": write_parquet(tmp_path / "h.data", records),
        "a folder with parquet": f"hub:{folder}",
        "a saved data set": f"hub:{tmp_path / 'saved'}",
        "saved splits": f"hub:{tmp_path / 'saved-dict'}",
    }


def test_every_format_says_the_same_problems(tmp_path):
    records = [record(n, kind="math", domain="numbers", elo=n) for n in range(5)]
    by_format = {name: read(source) for name, source in in_every_format(tmp_path, records).items()}
    expected = by_format.pop("JSONL")
    assert [p.columns for p in expected] == records
    assert {(p.verifier, p.domain) for p in expected} == {("math", "numbers")}
    assert {name for name, problems in by_format.items() if problems != expected} == set()


def test_an_instruction_stands_behind_every_prompt_and_only_there(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"prompt": [{"role": "user", "content": "1?"}], "answer": "1", "system": "Be brief."}) + "\n"
    )
    for source, said in ((str(tmp_path / "a.jsonl"), "1?"), ("sort-digits", None)):
        plain, told = (
            read_problems(SourceConfig(source=source, size=3, instruction=text), seed=0) for text in ("", "In a box.")
        )
        for before, after in zip(plain, told, strict=True):
            assert after.messages[:-1] == before.messages[:-1]
            assert after.messages[-1]["content"] == before.messages[-1]["content"] + "\n\nIn a box."
            assert said in (None, before.messages[-1]["content"])


def test_without_ids_every_format_counts_from_one_but_lines_count_blank_ones_too(tmp_path):
    records = [{"prompt": f"Is it {n}?", "answer": "no"} for n in range(3)]
    for name, source in in_every_format(tmp_path, records).items():
        assert [p.id for p in read(source)] == ["1", "2", "3"], name
    blank = write(tmp_path / "blank.json", "\n" + json.dumps(records[0]) + "\n\n" + json.dumps(records[1]))
    assert [p.id for p in read(blank)] == ["2", "4"]


def test_one_record_whose_prompt_is_a_conversation_is_no_list_of_records(tmp_path):
    turns = [{"role": "user", "content": "1+1"}]
    (problem,) = read(write(tmp_path / "one.json", {"prompt": turns, "answer": "2"}))
    assert problem.messages == tuple(turns)


def test_conversations_and_nested_columns_survive_parquet(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1"}]
    records = [{"chat": turns, "extra": {"answer": "2", "split": "a"}}]
    columns = {"prompt": "chat", "answer": "extra.answer"}
    for name, source in in_every_format(tmp_path, records).items():
        (problem,) = read(source, columns=columns)
        assert (problem.messages, problem.reference, problem.columns) == (tuple(turns), "2", records[0]), name


def test_times_and_decimals_of_parquet_become_text(tmp_path):
    records = [record(1, answer=Decimal("1.50"), on=date(2024, 2, 1), parts=[{"at": date(2024, 2, 2)}])]
    (problem,) = read(write_parquet(tmp_path / "a.parquet", records))
    assert problem.reference == "1.50"
    assert json.loads(json.dumps(problem.columns))["parts"] == [{"at": "2024-02-02"}]
    assert problem.columns["on"] == "2024-02-01"


def test_a_pipe_is_read_though_it_can_be_read_only_once(tmp_path):
    whole = write_parquet(tmp_path / "a.parquet", [record(1), record(2)]).read_bytes()
    for content in (whole, json.dumps([record(1), record(2)]).encode()):
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
        assert [p.id for p in read(f"/dev/fd/{reader}")] == ["r1", "r2"]
        os.close(reader)


def test_nan_is_no_answer(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [record(1, answer=1.5), record(2, answer=float("nan"))])
    assert "row 2" in refused(path, "'answer'", "nothing").got


# --- CSV and compressed files ---------------------------------------------------------------------------------------

TEXTS = [
    {"id": "a", "prompt": 'Say "yes",\nthen stop.', "answer": "yes", "kind": "exact", "note": "1,5"},
    {"id": "b", "prompt": "[1, 2] is what?", "answer": "[1, 2]", "kind": "exact", "note": "\tZürich"},
]


def csv_text(records, separator=","):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(records[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def zstd(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


def test_csv_and_compressed_files_say_the_problems_of_the_plain_file(tmp_path):
    lines = "".join(json.dumps(one) + "\n" for one in TEXTS).encode()
    table, tabs = csv_text(TEXTS).encode(), csv_text(TEXTS, "\t").encode()
    parquet = write_parquet(tmp_path / "a.parquet", TEXTS).read_bytes()
    contents = {
        "a.jsonl": lines,
        "a.csv": table,
        "A.CSV": b"\xef\xbb\xbf" + table,
        "unix.csv": csv_text(TEXTS).replace("\r\n", "\n").encode(),
        "a.tsv": tabs,
    }
    kinds = {**contents, "a.json": json.dumps(TEXTS).encode(), "a.parquet": parquet}
    contents |= {f"{name}.gz": gzip.compress(data) for name, data in kinds.items()}
    contents |= {f"{name}.zst": zstd(data) for name, data in kinds.items()}
    contents |= {"two members.jsonl.gz": b"".join(map(gzip.compress, lines.splitlines(keepends=True)))}
    contents |= {"called otherwise.jsonl": gzip.compress(lines), "called otherwise too.jsonl": zstd(lines)}
    found = {}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        found[name] = read(tmp_path / name)
    assert [p.columns for p in found["a.jsonl"]] == TEXTS
    assert {name for name, problems in found.items() if problems != found["a.jsonl"]} == set()


def test_held_out_problems_come_from_csv_and_compressed_files_too(tmp_path):
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(csv_text([record(n) for n in range(9)]).encode()))
    (tmp_path / "test.tsv.zst").write_bytes(zstd(csv_text([record(n) for n in range(5, 12)], "\t").encode()))
    source, held_out_source = str(tmp_path / "train.csv.gz"), str(tmp_path / "test.tsv.zst")
    problems = load_problems(ProblemsConfig(source=source, held_out_source=held_out_source, held_out=99))
    assert (len(problems.train), len(problems.held_out), problems.split.removed_count) == (5, 7, 4)


def test_values_of_csv_are_text_and_json_where_a_field_is_no_text(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1"}]
    tests = {"testtype": "stdin", "inputs": ["1\n"], "outputs": ["1\n"]}
    rows = [
        {"prompt": json.dumps(turns), "answer": "007", "kind": "", "tests": "", "ordered": "", "mine": "[1]"},
        {"prompt": "x", "answer": "", "kind": "code", "tests": json.dumps(tests), "ordered": "", "mine": ""},
        {"prompt": '["x"]', "answer": "[]", "kind": "tooluse", "tests": "", "ordered": "false", "mine": "true"},
    ]
    chat, code, tool = read(write(tmp_path / "a.csv", csv_text(rows)))
    assert (chat.messages, chat.reference, chat.verifier, chat.id) == (tuple(turns), "007", "exact", "2")
    assert (code.reference, code.verifier, code.columns["mine"]) == (None, "code", None)
    assert (tool.messages[0]["content"], tool.columns["ordered"]) == ('["x"]', False)
    assert (tool.own_columns["ordered"], tool.columns["mine"]) == ("false", "true")


def test_public_sets_are_read_from_csv_with_their_lists_as_json(tmp_path):
    row = {
        "task_id": "1",
        "text": "Add.",
        "code": "def add(a, b): return a + b",
        "test_list": ["assert add(1, 2) == 3"],
    }
    path = write(tmp_path / "mbpp.csv", csv_text([row | {"test_list": json.dumps(row["test_list"])}]))
    (problem,) = read(path, record_schema="mbpp")
    assert problem.columns["tests"]["code"] == row["test_list"][0]


def test_a_long_prompt_in_csv_is_read_whole(tmp_path):
    (problem,) = read(write(tmp_path / "a.csv", csv_text([record(1, prompt="x" * 200_000)])))
    assert len(problem.messages[0]["content"]) == 200_000


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", 'prompt,answer\n"x\ny",1\nx,1,2\n', ["line 4", "3 values for 2 columns"]),
        ("a.csv", "prompt,answer\nx\n", ["line 2", "1 values for 2 columns"]),
        ("a.tsv", "prompt\tanswer\nx,1\n", ["line 2", "1 values for 2 columns"]),
        ("a.csv", 'prompt,answer\nx,1\n"x"y,1\n', ["line 3", "double quote"]),
        ("a.csv", 'prompt,answer\nx,1\n"x,1\nz,1\n', ["line 3", "double quote"]),
        ("a.csv", ",prompt,answer\n0,x,1\n", ["line 1", "column 1", "index=False"]),
        ("a.csv", "prompt,answer,prompt\nx,1,y\n", ["line 1", "'prompt' more than once"]),
        ("a.csv", "prompt,answer\n", ["at least one problem", "is empty"]),
        ("a.csv", "", ["at least one problem", "is empty"]),
        ("a.jsonl.gz", "", ["at least one problem", "is empty"]),
        ("a.zst", "", ["at least one problem", "is empty"]),
        ("a.csv", "question,answer\nx,1\n", ["line 2", "problems.columns.prompt = 'question'"]),
        ("a.csv", "prompt,answer\nx,\n", ["line 2", "'answer'"]),
        ("a.csv", "prompt,answer,kind,tests\nx,,code,{\n", ["line 2", "'tests'"]),
        ("a.csv", "prompt,answer,kind,ordered\nx,[],tooluse,yes\n", ["line 2", "'ordered'"]),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_named_with_its_line(tmp_path, name, text, says):
    refused(write(tmp_path / name, text), str(tmp_path / name), *says)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_damaged_compressed_file_is_refused(tmp_path, pack):
    whole = pack("".join(json.dumps(record(n)) + "\n" for n in range(500)).encode())
    suffix = "gz" if pack is gzip.compress else "zst"
    path = tmp_path / f"a.jsonl.{suffix}"
    half = len(whole) // 2
    changed = [whole[:half] + b"\0\0\0\0" + whole[half + 4 :]] if suffix == "gz" else []  # zstd need have no checksum
    for damaged in (whole[:half], whole[:-2], whole + b"and more", *changed):
        path.write_bytes(damaged)
        refused(path, str(path), f"{len(damaged)} bytes", "download or write it again")
    path.write_text(json.dumps(record(1)))
    refused(path, str(path), f"take .{suffix} off its name")


def test_a_wrong_encoding_is_named_with_its_line_whatever_the_file(tmp_path):
    latin = "prompt,answer\nx,1\nZürich?,1\n".encode("latin-1")
    for name, data in (("a.csv", latin), ("a.csv.gz", gzip.compress(latin)), ("a.csv.zst", zstd(latin))):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, f"{name}, line 3", "UTF-8")


# --- what is wrong with a file --------------------------------------------------------------------------------------

BAD_FILES = {
    "a broken array": ('[{"prompt": "x",\n "answer": }]', ["line 2", "JSON array"]),
    "a broken printed object": ('{\n "data": [\n {"prompt": }]}', ["line 3", "JSON array"]),
    "a broken first line": ('{"prompt": "x"\n{"prompt": "x", "answer": "1"}\n', ["line 1", "mend the line"]),
    "a number in an array": ([record(1), 5], ["record 2", "int"]),
    "an array of nothing": ([], ["at least one problem"]),
    "two lists of records": ({"a": [record(1)], "b": [record(2)]}, ["one list of records", "lists in a, b"]),
    "two printed lists of records": (
        json.dumps({"a": [record(1)], "b": [record(2)]}, indent=1),
        ["one list of records", "lists in a, b"],
    ),
    "a printed object without records": ('{\n"a": 5}', ["one list of records", "none"]),
    "a number": ("5", ["JSON array of records", "int"]),
    "deep nesting": ("[" * 100_000, ["JSON array"]),
    "a record without prompt in an array": ([record(1), {"answer": "1"}], ["'prompt'", "record 2"]),
    "an id twice in an array": ([record(1), record(1)], ["id 'r1' in records 1 and 2"]),
}


@pytest.mark.parametrize(("content", "says"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_json_file_is_refused_naming_the_place(tmp_path, content, says):
    refused(path := write(tmp_path / "bad.json", content), str(path), *says)


def test_a_parquet_row_without_an_answer_is_named_by_its_number(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [record(1), record(2, answer=None), record(3)])
    assert f"{path}, row 2" in refused(path, "'answer'", "nothing").got


@pytest.mark.parametrize("kept", [0, 3, 4, 200, -200, -1])
def test_a_half_downloaded_parquet_file_is_refused(tmp_path, kept):
    whole = write_parquet(tmp_path / "a.parquet", [record(n) for n in range(500)]).read_bytes()
    path = tmp_path / "half.parquet"
    path.write_bytes(whole[:kept])
    refused(path, str(path), "parquet", "download or write it again")


def test_damage_in_the_middle_of_a_parquet_file_is_refused(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [record(n) for n in range(500)])
    data = bytearray(path.read_bytes())
    data[4:4000] = b"\xff" * 3996
    path.write_bytes(data)
    refused(path, str(path), "parquet", "download or write it again")


def test_a_folder_without_hub_a_missing_file_and_a_misspelt_generated_source_are_named(tmp_path):
    assert f"hub:{tmp_path}" in refused(tmp_path, "Is a directory").do
    refused(tmp_path / "none.parquet", "No such file")
    assert refused("sort-digit", "No such file").do == "did you mean sort-digits?"


@pytest.mark.parametrize("fields", [{"options": {"a": 1}}, {"split": "train"}, {"subset": "main"}])
def test_keys_that_a_file_does_not_read_are_refused(tmp_path, fields):
    refused(write(tmp_path / "a.json", [record(1)]), next(iter(fields)), error=ConfigError, **fields)


@pytest.mark.parametrize("source", ["sort-digits", "reasoning_gym:spell_backward"])
def test_keys_that_a_generated_source_does_not_read_are_refused(source):
    refused(source, "problems.columns", error=ConfigError, columns={"prompt": "x"}, size=10)
    refused(source, "problems.split", error=ConfigError, split="train", size=10)


def test_a_generated_source_is_one_entry_of_a_table(monkeypatch):
    made = read("sort-digits", size=3)
    monkeypatch.setitem(GENERATED, "more-digits", lambda source, seed: made[: source.size - seed])
    assert read("more-digits", size=2) == made[:2]
    assert {p.domain for p in read("more-digits", size=2, domain="x")} == {"x"}


# --- columns --------------------------------------------------------------------------------------------------------


def test_a_set_with_other_column_names_is_read_by_mapping(tmp_path):
    for name, source in in_every_format(tmp_path, AIME).items():
        problems = read(source, columns=AIME_COLUMNS, verifier="math", domain="aime")
        assert [p.id for p in problems] == [r["ID"] for r in AIME], name
        assert [p.messages[0]["content"] for p in problems] == [r["Problem"] for r in AIME]
        assert [p.reference for p in problems] == [str(r["Answer"]) for r in AIME]
        assert [p.columns for p in problems] == [r | {"solution": r["Solution"]} for r in AIME]
        assert {(p.verifier, p.domain) for p in problems} == {("math", "aime")}


def test_all_fields_can_be_mapped_and_own_names_are_then_no_fields(tmp_path):
    row = {"q": "x", "a": 1, "n": 7, "s": "Be brief.", "k": "math", "d": "dom", "w": "so", "id": "other", "kind": "mcq"}
    columns = dict(zip(("prompt", "answer", "id", "system", "kind", "domain", "solution"), "qanskdw", strict=True))
    (problem,) = read(write(tmp_path / "a.json", [row]), columns=columns)
    assert (problem.id, problem.reference, problem.verifier, problem.domain) == ("7", "1", "math", "dom")
    assert [turn["content"] for turn in problem.messages] == ["Be brief.", "x"]
    assert problem.columns == row | {"solution": "so"}


def test_a_column_whose_name_has_a_dot_is_found_by_its_whole_name(tmp_path):
    rows = [{"prompt": "x", "extra.answer": "1", "extra": {"answer": "2"}}]
    (problem,) = read(write(tmp_path / "a.json", rows), columns={"answer": "extra.answer"})
    assert problem.reference == "1"


names = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(columns=st.lists(names, min_size=3, max_size=3, unique=True), prompts=st.lists(names, min_size=1, max_size=5))
def test_renaming_columns_and_mapping_them_back_changes_no_problem(tmp_path_factory, columns, prompts):
    folder = tmp_path_factory.mktemp("round-trip")
    rows = [{"id": f"p{n}", "prompt": text, "answer": f"{text}!"} for n, text in enumerate(prompts)]
    mapping = dict(zip(("id", "prompt", "answer"), columns, strict=True))
    renamed = [{mapping[name]: value for name, value in row.items()} for row in rows]
    plain = read(write(folder / "plain.json", rows), verifier="exact", domain="d")
    mapped = read(write(folder / "mapped.json", renamed), verifier="exact", domain="d", columns=mapping)
    assert [(p.id, p.messages, p.reference) for p in mapped] == [(p.id, p.messages, p.reference) for p in plain]
    assert [p.columns for p in mapped] == renamed


@pytest.mark.parametrize(
    ("row", "columns", "says"),
    [
        ({"question": "x", "answer": "1"}, {}, ["columns question, answer", "problems.columns.prompt = 'question'"]),
        ({"Problem": "x", "answer": "1"}, {}, ["problems.columns.prompt = 'Problem'"]),
        ({"prompts": "x", "answer": "1"}, {}, ["problems.columns.prompt = 'prompts'"]),
        ({"prompt": "x", "label": "1"}, {}, ["problems.columns.answer = 'label'"]),
        ({"prompt": "x", "zzz": "1"}, {}, ["set problems.columns.answer to the column"]),
        (
            {"question": "x", "answer": "1"},
            {"prompt": "qestion"},
            ["'qestion'", "problems.columns.prompt = 'question'"],
        ),
        (
            {"prompt": "x", "extra": {"answer": "1"}},
            {"answer": "extra.anser"},
            ["'extra.anser'", "prompt, extra, extra.answer", "problems.columns.answer = 'extra.answer'"],
        ),
        ({"prompt": "x", "answer": "1"}, {"solution": "worked"}, ["'worked'", "columns.solution"]),
        ({"prompt": "x", "answer": "1", "n": None}, {"id": "n"}, ["'n'", "holds something"]),
    ],
)
def test_a_missing_column_is_named_with_those_there_are_and_the_nearest(tmp_path, row, columns, says):
    refused(write(tmp_path / "a.json", [row]), *says, columns=columns)
    refused(write_parquet(tmp_path / "a.parquet", [row]), *says, columns=columns)


def test_a_mapped_column_that_one_record_lacks_is_named_with_its_line(tmp_path):
    lines = [{"question": "x", "answer": "1"}, {"qestion": "y", "answer": "2"}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    error = refused(path, "column 'question'", columns={"prompt": "question"})
    assert f"{path}, line 2" in error.got


def test_very_many_columns_do_not_fill_the_screen(tmp_path):
    refused(write(tmp_path / "a.json", [{f"column{n}": n for n in range(500)}]), "column0, column1")


def test_where_no_answer_is_needed_its_absence_is_no_reference(tmp_path):
    rows = [record(1), record(2, answer=None), record(3, answer=" "), {"prompt": "x", "id": "r4"}]
    path = write(tmp_path / "a.json", rows)
    assert [p.reference for p in read(path, needs_answer=False)] == ["1", None, None, None]
    refused(path, "'answer'", "record 2")
    config = ProblemsConfig(source=str(path), held_out=1)
    assert len(load_problems(config, needs_answer=False).train) == 3
    with pytest.raises(ProblemError, match="'answer'"):
        load_problems(config)
    refused(path, "'label'", needs_answer=False, columns={"answer": "label"})


# --- data sets ------------------------------------------------------------------------------------------------------


def two_splits(tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    write_parquet(folder / "train.parquet", [record(n) for n in range(6)])
    write_parquet(folder / "test.parquet", [record(n) for n in range(6, 9)])
    parts = {path.stem: datasets.Dataset.from_parquet(str(path)) for path in folder.iterdir()}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved-two")
    return f"hub:{folder}", f"hub:{tmp_path / 'saved-two'}"


def test_a_split_is_chosen_by_name_and_train_is_the_default(tmp_path):
    for source in two_splits(tmp_path):
        assert [p.id for p in read(source, split="test")] == ["r6", "r7", "r8"]
        assert [p.id for p in read(source)] == [f"r{n}" for n in range(6)]
        refused(source, "nope", "train", "test", split="nope")
    assert [p.id for p in read(f"hub:{tmp_path / 'two'}", split="train[1:3]")] == ["r1", "r2"]


def test_the_only_split_needs_no_name_and_several_without_train_do(tmp_path):
    data = datasets.Dataset.from_list([record(1)])
    datasets.DatasetDict(test=data).save_to_disk(tmp_path / "one")
    assert len(read(f"hub:{tmp_path / 'one'}")) == 1
    datasets.DatasetDict(test=data, validation=data).save_to_disk(tmp_path / "several")
    refused(f"hub:{tmp_path / 'several'}", "the splits test, validation", "problems.split")


def test_a_row_of_a_data_set_is_named_by_split_and_number(tmp_path):
    datasets.DatasetDict(test=datasets.Dataset.from_list([record(1), record(2, answer=None)])).save_to_disk(
        tmp_path / "saved"
    )
    source = f"hub:{tmp_path / 'saved'}"
    assert f"{source} (test), row 2" in refused(source, "'answer'", split="test").got


def test_saved_data_sets_have_no_subsets_and_a_single_one_no_splits(tmp_path):
    datasets.Dataset.from_list([record(1)]).save_to_disk(tmp_path / "saved")
    source = f"hub:{tmp_path / 'saved'}"
    refused(source, "no subsets", error=ConfigError, subset="main")
    refused(source, "'test'", "one split", split="test")


def test_a_subset_that_is_not_there_is_named(tmp_path):
    refused(two_splits(tmp_path)[0], "main", "default", subset="main")


def test_a_folder_that_is_not_there_or_holds_no_data_is_refused(tmp_path):
    refused("hub:./nowhere", "no folder nowhere")
    (tmp_path / "empty").mkdir()
    refused(f"hub:{tmp_path / 'empty'}", "`datasets` can open", "empty")


def test_a_data_set_with_a_damaged_file_is_refused(tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    whole = write_parquet(folder / "train.parquet", [record(n) for n in range(99)]).read_bytes()
    (folder / "train.parquet").write_bytes(whole[: len(whole) // 2])
    refused(f"hub:{folder}", "`datasets` can open")
    datasets.Dataset.from_list([record(1)]).save_to_disk(tmp_path / "saved")
    for arrow in (tmp_path / "saved").glob("*.arrow"):
        arrow.write_bytes(arrow.read_bytes()[:100])
    refused(f"hub:{tmp_path / 'saved'}", "saved")


def test_code_that_comes_with_a_data_set_is_never_run(tmp_path):
    folder, witness = tmp_path / "scripted", tmp_path / "ran"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(witness)!r}, 'w')\n")
    refused(f"hub:{folder}", "`datasets` can open")
    assert not witness.exists()


def test_a_hub_that_cannot_be_reached_is_named_with_what_to_do_without_it(tmp_path):
    """In a process of its own: `datasets` reads HF_HUB_OFFLINE once, when it is imported."""
    script = """
from mopd.config import SourceConfig
from mopd.core.errors import ProblemError
from mopd.problems import read_problems
try:
    read_problems(SourceConfig(source="hub:nobody/nothing", split="train"), 0)
except ProblemError as error:
    print(error)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "the hub can be reached" in done.stdout
    assert "hub:nobody/nothing" in done.stdout
    for way in ("download its files", "problems.source", "HF_HUB_OFFLINE", "HF_HOME", "hub:./FOLDER"):
        assert way in done.stdout


def test_errors_of_a_network_are_told_from_answers_of_the_hub():
    import httpx
    import requests

    request = httpx.Request("GET", "http://localhost")
    network = [httpx.ReadTimeout("late"), httpx.ConnectError("no"), requests.ConnectionError("no"), TimeoutError()]
    for error in network:
        wrapped = RuntimeError("the data set cannot be made")
        wrapped.__cause__ = error
        assert is_network_error(error)
        assert is_network_error(wrapped)
    answer = httpx.HTTPStatusError("404", request=request, response=httpx.Response(404))
    assert not any(map(is_network_error, (answer, FileNotFoundError("x"), ValueError("x"))))


def test_reading_a_file_of_lines_imports_no_data_set_library(tmp_path):
    path = write(tmp_path / "a.jsonl", record(1))
    script = f"""
import sys
from mopd.config import SourceConfig
from mopd.problems import read_problems
read_problems(SourceConfig(source={str(path)!r}), 0)
print([name for name in ("datasets", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the paper's data -----------------------------------------------------------------------------------------------

SHARED = sorted(path for name in ("sciknoweval", "tooluse") for path in (DATA / name).glob("*.json*"))


@pytest.mark.skipif(not SHARED, reason="the development data is not beside the repository (../shared/data)")
@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_the_data_of_the_release_loads_unchanged(path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    verifier = "auto" if all(r["kind"] in VERIFIER_OF_KIND for r in records) else "exact"
    problems = read(path, verifier=verifier)
    assert len(problems) == len(records) > 0
    assert problems == read_jsonl(path, verifier)
    for problem, given_record in zip(problems, records, strict=True):
        *system, user = [turn["content"] for turn in problem.messages]
        assert (system, user) == ([given_record["system"]] if given_record["system"] else [], given_record["prompt"])
        assert (problem.id, problem.reference) == (str(given_record["idx"]), given_record["answer"])
        assert (problem.domain, problem.columns) == (given_record["dataset"], given_record)
        assert verifier == "exact" or problem.verifier == VERIFIER_OF_KIND[given_record["kind"]]


@pytest.mark.skipif(not SHARED, reason="the development data is not beside the repository (../shared/data)")
def test_the_science_sets_mix_with_their_own_held_out_parts():
    """Three sets whose ids and `dataset` are the same: domains come from the entries, ids from the domains."""
    names = ("biology", "chemistry", "physics")
    mix = [{"source": str(DATA / "sciknoweval" / f"{name}-train.json"), "domain": name} for name in names]
    held_out_source = str(DATA / "sciknoweval" / "physics-test.json")
    problems = load_problems(ProblemsConfig(mix=mix, held_out=60, held_out_source=held_out_source, domain="physics"))
    assert len(problems.held_out) == 60
    assert len({p.id for p in problems.train + problems.held_out}) == len(problems.train) + 60
    assert len(problems.train) + problems.split.removed_count == 450 + 1890 + 720
    assert {p.id.split("/")[0] for p in problems.train} == set(names)
