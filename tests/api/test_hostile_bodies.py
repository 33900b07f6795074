"""Bodies made to break the server: each is refused with a sentence, or taken, soon; nothing is a fault of ours."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GOOD = {"name": "x", "clusters": {"tiger": {"exec_file": "run", "walltime": "1:00"}}, "params": ["a"]}
WORST = 20.0  # seconds that one body may take on a slow machine

CORPUS = {
    "deep array": "[" * 200_000,
    "deep object": '{"a":' * 100_000,
    "deep in a setting": '{"name":"x","nb_jobs":1,"clusters":{"tiger":' + "[" * 50_000 + "]" * 50_000 + "}}",
    "a number without end": '{"nb_jobs": ' + "9" * 100_000 + "}",
    "an exponent": '{"name": "x", "clusters": {"tiger": {"exec_file": "x"}}, "nb_jobs": 1e400}',
    "too many tasks": json.dumps({**GOOD, "params": [], "nb_jobs": 10**15}),
    "minus": json.dumps({**GOOD, "params": [], "nb_jobs": -1}),
    "not a number": '{"name": "x", "nb_jobs": NaN}',
    "lone surrogate": '{"name": "\\ud800", "clusters": {"tiger": {"exec_file": "x"}}, "nb_jobs": 1}',
    "NUL": '{"name": "a\\u0000b", "clusters": {"tiger": {"exec_file": "x"}}, "params": ["a\\u0000"]}',
    "keys without end": json.dumps({**GOOD, **{f"key {number}": number for number in range(20_000)}}),
    "clusters without end": json.dumps({**GOOD, "clusters": {f"c{number}": {} for number in range(20_000)}}),
    "the same key": '{"name": "x",' * 1 + '"params": ["a"],' * 20_000 + '"nb_jobs": 1}',
    "a comment without end": "/*" * 500_000,
    "comments": "/* */" * 200_000 + "{}",
    "one open quote": '"' + "\\" * 1_000_001,
    "a line of a megabyte": json.dumps({**GOOD, "params": ["x" * 1_000_000]}),
    "quotes": json.dumps({**GOOD, "params": ["'\"" * 50_000 + "x"]}),
    "dollars": json.dumps({**GOOD, "params": ["$(" * 50_000]}),
    "backquotes": json.dumps({**GOOD, "params": ["`\\" * 50_000]}),
    "braces": json.dumps({**GOOD, "params": ["{" * 50_000 + "," * 50_000]}),
    "brackets": json.dumps({**GOOD, "params": ["[[" * 50_000]}),
    "walltime": json.dumps({**GOOD, "clusters": {"tiger": {"exec_file": "x", "walltime": "9" * 10_000}}}),
    "resources": json.dumps({**GOOD, "clusters": {"tiger": {"exec_file": "x", "resources": "/core=1+" * 10_000}}}),
    "a name": json.dumps({**GOOD, "name": "n" * 1_000_000}),
    "macros": json.dumps({**GOOD, "clusters": {"tiger": {"exec_file": "{CAMPAIGN_ID}" * 10_000}}}),
    "bytes": b"\xff\xfe" * 100,
    "half a character": b'{"name": "\xc3',
    "nothing": "",
    "null": "null",
    "a byte order mark": ("\ufeff" + json.dumps(GOOD)).encode(),
}


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("body", CORPUS.values(), ids=CORPUS.keys())
def test_the_corpus(api, body, kind):
    began = time.monotonic()
    answer = api.ask("POST", "/campaigns", body, Content_Type=kind)
    assert answer.status in (201, 400, 413), answer.text[:300]
    assert answer.status == 201 or answer.json()["message"]
    assert time.monotonic() - began < WORST
    assert len(answer.body) < 200_000, "nor is the answer a flood"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = st.sampled_from([
    "name", "clusters", "params", "param_file", "nb_jobs", "exec_file", "exec_directory", "resources",
    "walltime", "type", "cluster_job_type", "properties", "project", "max_jobs", "test_mode", "prologue",
    "epilogue", "max_retries", "retry_exit_codes", "max_failures", "rerun_lost", "share", "temporal_grouping",
    "dimensional_grouping", "checkpointing_type", "tiger",
])  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    top=st.dictionaries(SETTINGS, JSON, max_size=4),
    inner=st.dictionaries(SETTINGS, JSON, max_size=4),
    cut=st.none() | st.integers(0, 120),
)
def test_whatever_a_setting_is(api, top, inner, cut):
    whole = GOOD | {"clusters": {"tiger": {"exec_file": "run"} | inner}} | top
    body = json.dumps(whole)[:cut]
    answer = api.ask("POST", "/campaigns?dry_run", body)
    assert answer.status in (200, 400), answer.text
    assert answer.status == 200 or answer.json()["message"]
