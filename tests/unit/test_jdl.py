"""JDL files in use are read as the original read them, and all faults of a bad one are told at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cigri.core import jdl, lenient_json
from cigri.core.jdl_settings import SETTINGS, Campaign, ClusterJob
from cigri.core.states import JobKind
from cigri.core.walltime import Walltime
from cigri.errors import InvalidJDL

SOURCE = Path(__file__).parents[2]
MINIMAL = {"name": "n", "clusters": {"a": {}}, "exec_file": "run", "nb_jobs": 1}


def parse(raw: object, **options) -> tuple[Campaign, list[str]]:
    known = options.pop("known_clusters", {"a", "b", "luke"})
    return jdl.parse(
        raw, known_clusters=known, default_resources="/resource_id=1", default_walltime="01:00:00", **options
    )


def campaign(**more) -> Campaign:
    return parse({**MINIMAL, **more})[0]


def job(**more) -> ClusterJob:
    return campaign(**more).clusters["a"]


def faults(raw: object, **options) -> dict[str, str]:
    with pytest.raises(InvalidJDL) as caught:
        parse(raw, **options)
    return {fault.path: fault.message for fault in caught.value.faults}


def fault_of(**more) -> str:
    ((_, message),) = faults({**MINIMAL, **more}).items()
    return message


def test_defaults():
    """J9."""
    found, warnings = parse(MINIMAL)
    walltime = Walltime(3600)
    assert found == Campaign(
        name="n", clusters={"a": ClusterJob(exec_file="run", resources="/resource_id=1", walltime=walltime)}
    )
    assert warnings == []
    assert found.clusters["a"].types == ("besteffort",)


@pytest.mark.parametrize(
    ("resources", "properties", "choosy"),
    [
        ("/resource_id=1", "", False),
        ("core=4", "", False),
        ("/nodes=2/core=4", "", False),
        ("/nodes=1/core=1+/nodes=1/core=8", "", False),
        ("/nodes=1", "", True),  # how large a node is nobody says
        ("/nodes=1/core=1+/nodes=1", "", True),
        ("{gpu='YES'}/core=1", "", True),
        ("/core=1", "mem > 4000", True),
    ],
)
def test_who_cannot_use_whatever_is_free(resources, properties, choosy):
    assert (
        ClusterJob(exec_file="run", resources=resources, walltime=Walltime(60), properties=properties).choosy is choosy
    )


def test_a_jdl_as_they_are_written():
    """J2, J16."""
    text = r"""
    {   // my first campaign
        "Name": "povray",
        "resources": "/core=1", "Walltime": "00:5:00",
        "exec_file": "\$HOME/povray/start.sh", /* the
        script */
        "exec_directory": "{HOME}/run_{CAMPAIGN_ID}",
        "temporal_grouping": "false", "test_mode": false, "output_gathering_method": "None",
        "dimensional_grouping": "False", "checkpointing_type": null, "prologue": [],
        "params": ["one 1", 2, 2.5, ""],
        "_group": "astro",
        "clusters": {
            "luke": {"max_jobs": "50", "walltime": 2, "properties": "mem > 4000", "project": "p", "project": "q"},
            "a": null,
            "lukee": {}
        }
    }"""
    raw, doubled = lenient_json.loads(text)
    found, warnings = parse(raw)
    assert doubled == ['"project" stands here several times: the last one counts']
    assert warnings == ['cluster "lukee" is not one of this grid: left out (did you mean "luke"?)']
    luke, a = found.clusters["luke"], found.clusters["a"]
    assert (luke.max_jobs, str(luke.walltime), luke.properties, luke.project) == (50, "2:00:00", "mem > 4000", "q")
    assert (a.max_jobs, str(a.walltime), a.resources) == (None, "0:05:00", "/core=1")
    assert a.command(7) == "$HOME/povray/start.sh"
    assert a.directory(7) == "$HOME/run_7"
    assert found.private == {"_group": "astro"}


def test_stages_run_in_the_home_on_one_resource_and_are_not_best_effort():
    """J14."""
    found = job(prologue=["mkdir ${OAR_JOB_ID}", "echo {OAR_JOB_ID}"], prologue_walltime="0:10", cluster_job_type="x")
    stage = found.stage(JobKind.PROLOGUE)
    assert stage.exec_file == "mkdir ${OAR_JOB_ID}\necho $OAR_JOB_ID"
    assert (stage.directory(1), stage.resources, str(stage.walltime)) == ("$HOME", "/resource_id=1", "0:10:00")
    assert stage.types == ("x",)
    assert found.types == ("besteffort", "x")
    assert job(test_mode="true").types == ()
    assert job(type="normal").types == ()


@pytest.mark.parametrize(
    ("given", "retries"),
    [({}, 0), ({"retry_exit_codes": [1, "75"]}, 3), ({"retry_exit_codes": "1,75", "max_retries": "5"}, 5)],
)
def test_retries(given, retries):
    """J17."""
    found = job(**given)
    assert found.retries == retries
    assert found.retry_exit_codes == ((1, 75) if given else ())


@pytest.mark.parametrize(
    ("key", "value"),
    [("retry_exit_codes", [0]), ("retry_exit_codes", [256]), ("retry_exit_codes", 3), ("retry_exit_codes", [True]),
     ("max_retries", -1), ("max_retries", True), ("max_failures", 0)],
)  # fmt: skip
def test_retries_that_are_refused(key, value):
    assert fault_of(**{key: value})


def test_all_faults_come_at_once():
    """J2."""
    found = faults(
        {
            "nam": "x",
            "nb_jobs": 3,
            "params": [],
            "walltime": "1h",
            "clusters": {
                "a": {"exec_fil": "y", "params": ["1"]},
                "b": {"exec_file": "it's", "max_jobs": 0, "type": "nightly", "temporal_grouping": "true"},
                "c": 4,
            },
        }
    )
    assert found == {
        "nb_jobs": "tasks come from one source, not from nb_jobs and params",
        "params": "tasks come from one source, not from nb_jobs and params",
        "nam": 'is not a key of a JDL (did you mean "name"?)',
        "walltime": "must be h, h:mm or h:mm:ss, for example 0:30:00",
        "clusters.a.exec_fil": 'is not a key of a JDL (did you mean "exec_file"?)',
        "clusters.a.params": "belongs to the top level of the JDL, not to a cluster",
        "clusters.b.exec_file": "has a ' without its partner",
        "clusters.b.max_jobs": "must be a whole number of 1 or more",
        "clusters.b.type": "nightly does not exist here, nor did it ever work; use best-effort",
        "clusters.b.temporal_grouping": "is not available in this version; leave it out",
        "clusters.c": "must be an object with the settings of this cluster: {}",
        "clusters.a.exec_file": "is missing",
        "name": "is missing",
    }


def test_a_fault_shows_what_was_found():
    with pytest.raises(InvalidJDL) as caught:
        parse({**MINIMAL, "max_jobs": "many" * 50})
    assert str(caught.value).endswith("...)") and len(str(caught.value)) < 130


@pytest.mark.parametrize("raw", [None, [], "x", 3])
def test_a_jdl_is_an_object(raw):
    assert faults(raw) == {"campaign": "must be a JSON object: { ... }"}


def test_nothing_at_all():
    assert set(faults({})) == {"name", "clusters", "params"}


@pytest.mark.parametrize("clusters", [[], {}, "a", 3])
def test_clusters_must_be_there(clusters):
    assert "at least one cluster" in fault_of(clusters=clusters)


def test_none_of_the_clusters_is_known():
    assert fault_of(clusters={"x": {}}) == "none of these is a cluster of this grid, which has: a, b, luke"
    assert list(parse({**MINIMAL, "clusters": {"x": {}}}, known_clusters=None)[0].clusters) == ["x"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1", 3600), (2, 7200), ("99", 356400), ("0:30", 1800), ("00:5:00", 300), ("0:0:20", 20), ("100:00:00", 360000)],
)
def test_walltimes(written, seconds):
    """J10."""
    assert job(walltime=written).walltime == Walltime(seconds)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("300", "a bare number is hours, and 300 hours are too many (did you mean 0:05:00?)"),
        (100, "a bare number is hours, and 100 hours are too many (did you mean 0:01:40?)"),
        ("0:00:00", "must be longer than nothing"),
        ("1:2:3:4", "must be h, h:mm or h:mm:ss, for example 0:30:00"),
        ("1:0000", "must be h, h:mm or h:mm:ss, for example 0:30:00"),
        (1.5, "must be a string h, h:mm or h:mm:ss"),
        (True, "must be a string h, h:mm or h:mm:ss"),
    ],
)
def test_walltimes_that_are_refused(written, message):
    """J10."""
    assert fault_of(walltime=written) == message


@given(st.integers(1, 999 * 3600))
def test_a_walltime_reads_back(seconds):
    from cigri.core import walltime

    assert walltime.parse(str(Walltime(seconds))) == Walltime(seconds)


@pytest.mark.parametrize(
    ("written", "types"),
    [
        ("", ()),
        ("besteffort", ()),
        ("container, inner=12,container", ("container", "inner=12")),
        ("timesharing=*,user,noop", ("timesharing=*,user", "noop")),
        (["deploy", "token:matlab=1"], ("deploy", "token:matlab=1")),
    ],
)
def test_cluster_job_types(written, types):
    """J9."""
    assert job(cluster_job_type=written).types == ("besteffort", *types)


@pytest.mark.parametrize(
    ("more", "words"),
    [({"type": "normal"}, 'type is normal: write "type": "best-effort"'), ({"test_mode": True}, "in test mode")],
)
def test_besteffort_among_the_types_is_not_dropped_in_silence(more, words):
    """J9."""
    message = fault_of(cluster_job_type="besteffort,container", **more)
    assert message.startswith("has besteffort, but ") and words in message
    given = {**MINIMAL, "cluster_job_type": "besteffort", "clusters": {"a": more, "luke": {}, "b": more}}
    assert list(faults(given)) == ["clusters.a.cluster_job_type", "clusters.b.cluster_job_type"]
    assert list(faults({**given, **more, "clusters": {"a": {}, "b": {}}})) == ["cluster_job_type"]


@pytest.mark.parametrize("written", ["idempotent", "container,idempotent", 'a"b', 5])
def test_cluster_job_types_that_are_refused(written):
    assert fault_of(cluster_job_type=written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("~", "$HOME"),
        ("~/x", "$HOME/x"),
        ("{HOME}/x", "$HOME/x"),
        ("$HOME/x", "$HOME/x"),
        ("${HOME}/x", "$HOME/x"),
        ("${HOME}", "$HOME"),
        ("/scratch/{CAMPAIGN_ID}", "/scratch/12"),
        ("run/x", "$HOME/run/x"),
    ],
)
def test_directories(written, expected):
    """J8."""
    assert job(exec_directory=written).directory(12) == expected


@pytest.mark.parametrize("written", ["$WORK/x", "/x/$HOME", "/a'b", "", "$HOMER/x", "${HOME}R/x", "a\nb"])
def test_directories_that_are_refused(written):
    assert fault_of(exec_directory=written)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temporal_grouping", True),
        ("dimensional_grouping", "true"),
        ("checkpointing_type", "blcr"),
        ("output_gathering_method", "iRods"),
        ("output_file", "x"),
        ("output_destination", "y"),
        ("type", "semi-best-effort"),
        ("type", "nightly"),
        ("jobs_type", "desktop_computing"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_sentence(key, value):
    """J12, J13."""
    message = fault_of(**{key: value})
    assert "not available in this version" in message or "does not exist here" in message or "later" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prologue", None),
        ("prologue", ""),
        ("test_mode", "FALSE"),
        ("temporal_grouping", "false"),
        ("temporal_grouping", 0),
        ("output_file", "none"),
        ("output_destination", ""),
        ("type", "besteffort"),
        ("type", "best-effort"),
        ("jobs_type", "Normal"),
        ("max_jobs", None),
        ("max_jobs", ""),
    ],
)
def test_their_defaults_are_accepted(key, value):
    """J12."""
    assert campaign(**{key: value}) == campaign()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("name", "x" * 256),
        ("exec_file", "run # x"),
        ("exec_file", 5),
        ("resources", "/nodes=1,walltime=1"),
        ("properties", "a\0b"),
        ("project", "\udc00"),
        ("max_jobs", True),
        ("max_jobs", "1.5"),
        ("max_jobs", 2**31),
        ("rerun_lost", "perhaps"),
        ("_mine", {"deep": ["a\0"]}),
        ("_mine", {"\ud800": 1}),
    ],
)
def test_values_that_are_refused(key, value):
    assert list(faults({**MINIMAL, key: value})) == [key]


def test_the_clusters_own_setting_wins_and_null_is_none():
    """J3."""
    raw = {**MINIMAL, "project": "all", "clusters": {"a": {"project": "own"}, "b": {"project": None}}}
    found = parse(raw)[0].clusters
    assert (found["a"].project, found["b"].project) == ("own", "all")


def test_a_key_in_two_spellings():
    found, warnings = parse({**MINIMAL, "Name": "second"})
    assert found.name == "second" and warnings == ['"name" stands there several times: the last one counts']


settings_json = st.fixed_dictionaries(
    {},
    optional={
        "exec_file": st.sampled_from(["run", "~/run.sh -x", "$HOME/é 'a b'", "{HOME}/{CAMPAIGN_ID}"]),
        "exec_directory": st.sampled_from(["~", "/tmp/x y", "$HOME/a"]),
        "resources": st.sampled_from(["/nodes=1/core=2", "{mem > 5}/cpu=1"]),
        "walltime": st.one_of(st.integers(1, 99), st.sampled_from(["0:5", "1:2:3", "00:90:00"])),
        "cluster_job_type": st.sampled_from(["", "container,inner=1", "timesharing=*,user"]),
        "properties": st.text("abc=><'\" ", max_size=9),
        "project": st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=9),
        "max_jobs": st.one_of(st.none(), st.integers(1, 10**6), st.just("7")),
        "rerun_lost": st.sampled_from([True, False, "true", "no"]),
        "_x": st.one_of(st.none(), st.integers(), st.lists(st.just("y"))),
    },
)


@settings(deadline=None)
@given(shared=settings_json, own=st.dictionaries(st.sampled_from("ab"), settings_json, min_size=1))
def test_what_is_stored_reads_back_the_same(shared, own):
    found, _ = parse({"exec_file": "run", **shared, "name": "n", "clusters": own, "nb_jobs": 0})
    told = json.loads(json.dumps(jdl.expanded(found)))
    assert jdl.stored(told) == found
    again = {**told, "nb_jobs": 0}
    assert parse(again)[0] == found  # what GET .../jdl gives can be submitted again


def test_the_expanded_jdl_has_every_setting():
    told = jdl.expanded(campaign())
    assert set(told) == {"name", "jobs_type", "clusters"}
    assert set(told["clusters"]["a"]) == set(SETTINGS)
    assert told["clusters"]["a"]["walltime"] == "1:00:00"


def test_garbage_in_the_database_is_told():
    with pytest.raises(InvalidJDL):
        jdl.stored({"name": "x", "clusters": {"a": {"exec_file": "run"}}})


def test_a_description_in_the_documentation_works():
    page = (SOURCE / "docs/jdl.md").read_text(encoding="utf-8")
    (example,) = [block.partition("```")[0] for block in page.split("```json\n")[1:]]
    raw, doubled = lenient_json.loads(example)
    found, warnings = parse({**raw, "param_file": None, "nb_jobs": 1}, known_clusters=set(raw["clusters"]))
    assert doubled == warnings == [] and len(found.clusters) == 2


def test_the_documentation_has_every_setting():
    page = (SOURCE / "docs/jdl.md").read_text(encoding="utf-8")
    for entry in SETTINGS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| {entry.name} |"))
        assert entry.doc in row, f"docs/jdl.md: {entry.name}"


def test_commands_read_a_jdl_without_slow_packages():
    code = "import sys, cigri.core.jdl, cigri.core.lenient_json; print({'pydantic', 'sqlalchemy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SOURCE)
    assert done.stdout == "set()\n"
