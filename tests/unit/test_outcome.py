"""What the ends of jobs mean, by the ends that real OAR servers reported, and the order in which signs are read."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core import events, outcome
from cigri.core.outcome import (
    DIRECTORY_FAULTS,
    MAX_AUTOMATIC_RESUBMISSIONS,
    MAX_WALLTIMES,
    NODE_FAULTS,
    Ended,
    LookAgain,
    Outcome,
    Resubmitted,
    Sign,
    Verdict,
    decide,
)
from cigri.core.states import JobState, TaskState
from cigri.db.kills import KillReason

SWITCH = Sign("SWITCH_INTO_ERROR_STATE", "[11070] Ask to change the job state")
DONE_SWITCH = Sign("SWITCH_INTO_TERMINATE_STATE", "[11059] Ask to change the job state")
SEND_KILL = Sign("SEND_KILL_JOB", "Send the kill signal to oarexec on oar3-node1 for job 11076")
BY_ALICE = Sign("FRAG_JOB_REQUEST", "User alice requested to frag the job 11076")
BY_OAR = Sign("FRAG_JOB_REQUEST", "User oar requested to frag the job 11086")
BY_ROOT = Sign("FRAG_JOB_REQUEST", "User root requested to frag the job 27")
WALLTIME = Sign("WALLTIME", "Job: 11085 from 1795337081 with 20; current time=1795337104 (Elapsed)")
PREEMPTED = Sign("BESTEFFORT_KILL", "kill the besteffort job 11086")
PRIORITY_START = Sign("SCHEDULER_PRIORITY_UPDATED_START", "Scheduler priority for job 11086 updated (resource_id)")
PRIORITY_STOP = Sign("SCHEDULER_PRIORITY_UPDATED_STOP", "Scheduler priority for job 11086 updated", to_check=True)
SUSPECTED = Sign("PING_CHECKER_NODE_SUSPECTED", "[bipbip] OAR suspects nodes, job: 11927, nodes:['oar3-node1']")
RESTARTED = Sign(
    "RESUBMIT_JOB_AUTOMATICALLY",
    "Resubmitting job 11927 => ((0, ''), 11928) (due to event PING_CHECKER_NODE_SUSPECTED & job is neither a "
    "reservation nor an interactive job)",
)
# The same kind of event as OAR3 and OAR 2.5 write it for best-effort jobs that ask for it.
RESTARTED_3 = Sign(
    "RESUBMIT_JOB_AUTOMATICALLY",
    "[11088] The job 11088 is a besteffort and idempotent job so we resubmit it (new id = ((0, ''), 11090)",
)
RESTARTED_2 = Sign(
    "RESUBMIT_JOB_AUTOMATICALLY",
    "[bipbip 37] the job 37 is a besteffort and idempotent job so we resubmit it (new id = 39)",
)


def ended(*signs, exit_code=None, started=True, **known):
    return Ended(exit_code, signs, started, **known)


def verdict(end):
    found = decide(end)
    assert isinstance(found, Verdict), found
    return found


DONE, BACK, SET_ASIDE, CANCELLED = TaskState.DONE, TaskState.PENDING, TaskState.FAILED, TaskState.CANCELLED

# As reported by OAR3 (c332316) and OAR 2.5.9; jobs by their ids there. Each in its last reading.
REPORTED = {
    "exit 0 (11059)": (ended(DONE_SWITCH, exit_code=0), Outcome.SUCCESS, DONE, ""),
    "exit 1 (11060)": (ended(DONE_SWITCH, exit_code=256), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "exit 3 (11061)": (ended(DONE_SWITCH, exit_code=768), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "exit 99 (11062)": (ended(DONE_SWITCH, exit_code=25344), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "no such command (11064)": (ended(DONE_SWITCH, exit_code=32512), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "a directory run (11065)": (ended(DONE_SWITCH, exit_code=32256), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "kill -9 (11066)": (ended(DONE_SWITCH, exit_code=9), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "kill -15 (11067)": (ended(DONE_SWITCH, exit_code=15), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "exit 256 (11068)": (ended(DONE_SWITCH, exit_code=0), Outcome.SUCCESS, DONE, ""),
    "kill -11 (11069)": (ended(DONE_SWITCH, exit_code=11), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "exit 255 on 2.5": (ended(DONE_SWITCH, exit_code=65280), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR"),
    "bad directory (11070)": (
        ended(SWITCH, Sign("WORKING_DIRECTOR", "[11070] Cannot go into the working directory /home/nowhere")),
        Outcome.DIRECTORY, SET_ASIDE, "WORKING_DIRECTORY_ERROR",
    ),
    "bad directory on 2.5 (41)": (
        ended(SWITCH, Sign("WORKING_DIRECTORY", "[bipbip 41] Cannot go into the working directory")),
        Outcome.DIRECTORY, SET_ASIDE, "WORKING_DIRECTORY_ERROR",
    ),
    "stdout in / (11072)": (
        ended(SWITCH, Sign("OUTPUT_FILES", "[11072] Cannot create .stdout and .stderr files in /home/alice/oar3")),
        Outcome.DIRECTORY, SET_ASIDE, "WORKING_DIRECTORY_ERROR",
    ),
    "oardel while waiting (11075)": (ended(BY_ALICE, started=False), Outcome.DELETED, SET_ASIDE, "USER_FRAG"),
    "oardel while running (11076)": (ended(BY_ALICE, SEND_KILL, SWITCH), Outcome.DELETED, SET_ASIDE, "USER_FRAG"),
    "oardel of a job that had ended well (1)": (ended(DONE_SWITCH, BY_ALICE, exit_code=0), Outcome.SUCCESS, DONE, ""),
    "oardel of a job that had ended badly": (
        ended(DONE_SWITCH, BY_ALICE, exit_code=256), Outcome.EXIT, SET_ASIDE, "EXIT_ERROR",
    ),
    "walltime (11085)": (ended(BY_OAR, WALLTIME, SEND_KILL, SWITCH), Outcome.WALLTIME, BACK, "RESUBMIT"),
    "walltime on 2.5 (29)": (ended(BY_ROOT, WALLTIME, SEND_KILL, SWITCH), Outcome.WALLTIME, BACK, "RESUBMIT"),
    "preempted (11086)": (
        ended(PRIORITY_START, PREEMPTED, BY_OAR, SEND_KILL, SWITCH, PRIORITY_STOP),
        Outcome.PREEMPTED, BACK, "RESUBMIT",
    ),
    "preempted on 2.5 (27)": (
        ended(PRIORITY_START, PREEMPTED, BY_ROOT, SEND_KILL, PRIORITY_STOP, SWITCH),
        Outcome.PREEMPTED, BACK, "RESUBMIT",
    ),
    "exterminated after an oardel (11926)": (
        ended(BY_ALICE, SEND_KILL, SEND_KILL, Sign("EXTERMINATE_JOB", "I exterminate the job 11926")),
        Outcome.DELETED, SET_ASIDE, "USER_FRAG",
    ),
    "exterminated": (
        ended(Sign("EXTERMINATE_JOB", "I exterminate the job 11926"), looked_before=True),
        Outcome.SITE, BACK, "RESUBMIT",
    ),
    "a node out of reach, not restarted": (ended(SUSPECTED, looked_before=True), Outcome.SITE, BACK, "RESUBMIT"),
    "error without a word": (ended(looked_before=True), Outcome.UNKNOWN, SET_ASIDE, "UNKNOWN_ERROR"),
    "terminated without exit status": (
        ended(DONE_SWITCH, looked_before=True), Outcome.UNKNOWN, SET_ASIDE, "UNKNOWN_ERROR",
    ),
    "Error with exit_code 0": (ended(SWITCH, SEND_KILL, exit_code=0), Outcome.SUCCESS, DONE, ""),
}  # fmt: skip


@pytest.mark.parametrize(("end", "why", "task", "code"), REPORTED.values(), ids=REPORTED)
def test_ends_as_real_servers_report_them(end, why, task, code):
    found = verdict(end)
    assert (found.outcome, found.task, found.code) == (why, task, code)
    assert found.job is (JobState.TERMINATED if task is DONE else JobState.EVENT)


@pytest.mark.parametrize(
    ("sign", "new"),
    [(RESTARTED, 11928), (RESTARTED_3, 11090), (RESTARTED_2, 39)],
    ids=["oar3 after a node's fault", "oar3 idempotent", "oar 2.5"],
)
def test_the_new_id_is_read_in_every_spelling(sign, new):
    assert decide(ended(SUSPECTED, sign)) == Resubmitted(new)
    assert decide(ended(PREEMPTED, BY_OAR, SEND_KILL, SWITCH, sign, PRIORITY_STOP)) == Resubmitted(new)


def test_a_restart_without_a_new_id_is_no_follower():
    assert outcome.follower((Sign("RESUBMIT_JOB_AUTOMATICALLY", "Resubmitting job 5 => failed"), SUSPECTED)) is None


def test_an_id_in_another_event_is_no_follower():
    assert outcome.follower((Sign("SUSPECTED", "new id = 7"),)) is None


@pytest.mark.parametrize("mark", [None, *(reason.value for reason in KillReason)])
def test_a_restarted_job_is_followed_marked_or_not(mark):
    """The deletions go on under the new id: ending here would leave it running."""
    assert decide(ended(SUSPECTED, RESTARTED, kill_reason=mark)) == Resubmitted(11928)


def test_after_two_restarts_by_the_cluster_the_task_is_set_aside():
    for count in range(MAX_AUTOMATIC_RESUBMISSIONS):
        assert isinstance(decide(ended(SUSPECTED, RESTARTED, automatic_resubmissions=count)), Resubmitted)
    found = verdict(ended(SUSPECTED, RESTARTED, automatic_resubmissions=MAX_AUTOMATIC_RESUBMISSIONS))
    assert (found.outcome, found.task) == (Outcome.SITE, SET_ASIDE)
    assert MAX_AUTOMATIC_RESUBMISSIONS == 2


@pytest.mark.parametrize(
    "kind",
    ["SWITCH_INTO_ERROR_STATE", "SWITCH_INTO_TERMINATE_STATE", "RESUBMIT_JOB_AUTOMATICALLY", *sorted(NODE_FAULTS)],
)
def test_nothing_is_final_while_the_cluster_has_not_dealt_with_it(kind):
    for looked_before, exit_code in itertools.product((False, True), (None, 256)):
        end = ended(Sign(kind, "", to_check=True), exit_code=exit_code, looked_before=looked_before)
        assert isinstance(decide(end), LookAgain)


@pytest.mark.parametrize("sign", [PRIORITY_STOP, Sign("CHECKPOINT", to_check=True)])
def test_other_unread_events_hold_nothing_up(sign):
    assert verdict(ended(PREEMPTED, BY_OAR, SWITCH, sign)).outcome is Outcome.PREEMPTED


@pytest.mark.parametrize("kind", sorted(NODE_FAULTS | {"EXTERMINATE_JOB", "EXTERMINATE"}))
def test_ends_that_a_cluster_may_restart_are_looked_at_once_more(kind):
    assert isinstance(decide(ended(Sign(kind))), LookAgain)
    found = verdict(ended(Sign(kind), looked_before=True))
    assert (found.outcome, found.task) == (Outcome.SITE, BACK)


@pytest.mark.parametrize("end", [end for end, *_ in REPORTED.values()], ids=REPORTED)
def test_one_more_look_is_enough(end):
    again = Ended(end.exit_code, end.signs, end.started, looked_before=True)
    assert isinstance(decide(again), Verdict)


def test_ends_with_an_exit_status_are_final_at_once():
    assert isinstance(decide(ended(DONE_SWITCH, exit_code=256)), Verdict)


signs = st.lists(
    st.builds(
        Sign,
        st.sampled_from(
            ["WALLTIME", "BESTEFFORT_KILL", "FRAG_JOB_REQUEST", "RESUBMIT_JOB_AUTOMATICALLY", "SWITCH_INTO_ERROR_STATE",
             "EXTERMINATE_JOB", "MADE_UP", *sorted(NODE_FAULTS | DIRECTORY_FAULTS)]
        ),
        st.sampled_from(["", RESTARTED.description, RESTARTED_2.description]),
        st.booleans(),
    ),
    max_size=6,
).map(tuple)  # fmt: skip
marks = st.none() | st.sampled_from([reason.value for reason in KillReason])
ends = st.builds(
    Ended, st.none() | st.integers(0, 65535), signs, st.booleans(), marks, st.booleans(), st.integers(0, 4),
    st.integers(0, 4),
)  # fmt: skip


@given(ends)
def test_exit_status_0_wins_over_everything(end):
    success = Ended(
        0, end.signs, end.started, end.kill_reason, end.looked_before, end.automatic_resubmissions, end.walltimes
    )
    assert verdict(success) == Verdict(Outcome.SUCCESS, JobState.TERMINATED, DONE)


@given(ends)
def test_only_exit_status_0_is_success(end):
    found = decide(end)
    if isinstance(found, Verdict):
        assert (found.task is DONE) == (end.exit_code == 0) == (found.job is JobState.TERMINATED)


@given(ends)
def test_every_failure_is_told_with_a_known_code_and_a_sentence(end):
    found = decide(end)
    if isinstance(found, Verdict) and found.task is SET_ASIDE:
        assert found.message and found.alike and not events.meaning(found.code).passing
    if isinstance(found, Verdict) and found.code and found.task is BACK:
        assert events.meaning(found.code).passing, "nobody has to close what went back by itself"


@given(ends)
def test_the_order_of_the_events_does_not_matter(end):
    backwards = Ended(
        end.exit_code, end.signs[::-1], end.started, end.kill_reason, end.looked_before,
        end.automatic_resubmissions, end.walltimes,
    )  # fmt: skip
    one, other = decide(end), decide(backwards)
    assert type(one) is type(other)
    if isinstance(one, Verdict) and isinstance(other, Verdict):
        assert (one.outcome, one.task, one.code, one.alike) == (other.outcome, other.task, other.code, other.alike)


# Each sign wins over all that follow it.
ORDER = [
    (Outcome.WALLTIME, {"signs": (WALLTIME,)}),
    (Outcome.PREEMPTED, {"signs": (PREEMPTED,)}),
    (Outcome.SURPLUS, {"kill_reason": "surplus"}),
    (Outcome.EXIT, {"exit_code": 256}),
    (Outcome.DIRECTORY, {"signs": (Sign("OUTPUT_FILES"),)}),
    (Outcome.DELETED, {"signs": (BY_ALICE,)}),
    (Outcome.SITE, {"signs": (Sign("EXTERMINATE_JOB"), SUSPECTED)}),
    (Outcome.UNKNOWN, {}),
]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ORDER, 2)), ids=lambda pair: pair[0].value)
def test_signs_are_read_in_order(first, second):
    known = {**second[1], **first[1]}
    known["signs"] = (*second[1].get("signs", ()), *first[1].get("signs", ()))
    end = Ended(known.pop("exit_code", None), known.pop("signs"), True, looked_before=True, **known)
    assert verdict(end).outcome is first[0]


@pytest.mark.parametrize(
    ("mark", "why", "task", "code"),
    [
        ("cancelled", Outcome.CANCELLED, CANCELLED, ""),
        ("user", Outcome.DELETED, SET_ASIDE, "USER_FRAG"),
        ("walltime", Outcome.WALLTIME, BACK, "CIGRI_WALLTIME"),
        ("queued", Outcome.QUEUED, BACK, "REMOTE_WAITING_FRAG"),
        ("refused", Outcome.REFUSED, BACK, ""),
        ("surplus", Outcome.SURPLUS, BACK, ""),
    ],
)
def test_our_own_marks(mark, why, task, code):
    """E21."""
    found = verdict(ended(BY_ALICE, SEND_KILL, SWITCH, kill_reason=mark))
    assert (found.outcome, found.job, found.task, found.code) == (why, JobState.EVENT, task, code)


def test_every_mark_has_an_end():
    """E6."""
    assert all(isinstance(decide(ended(BY_ALICE, kill_reason=reason.value)), Verdict) for reason in KillReason)


@pytest.mark.parametrize("how", [{"kill_reason": "walltime"}, {"signs": (BY_OAR, WALLTIME, SWITCH)}])
def test_the_third_walltime_sets_the_task_aside(how):
    places = [
        verdict(Ended(None, how.get("signs", ()), True, how.get("kill_reason"), walltimes=before)).task
        for before in range(MAX_WALLTIMES + 1)
    ]
    assert places == [BACK, BACK, SET_ASIDE, SET_ASIDE] and MAX_WALLTIMES == 3
    last = verdict(Ended(None, how.get("signs", ()), True, how.get("kill_reason"), walltimes=2))
    assert last.code == "TOO_MANY_RESUBMIT" and "longer walltime" in last.message


def test_what_its_cluster_exterminates_comes_back_ever_later_and_not_for_ever():
    """E8."""
    killed = (Sign("EXTERMINATE_JOB"),)
    ends = [verdict(Ended(None, killed, True, looked_before=True, tries=tries)) for tries in range(10)]
    assert {(end.code, end.task, end.priority) for end in ends[:9]} == {("RESUBMIT", BACK, 10)}
    assert [end.delay for end in ends[:3]] == [5.0, 10.0, 20.0]
    assert (ends[9].code, ends[9].task) == ("UNKNOWN_ERROR", SET_ASIDE)


def test_preemption_never_uses_up_a_budget():
    assert verdict(ended(PREEMPTED, BY_OAR, walltimes=99, automatic_resubmissions=99)).task is BACK


def test_a_program_may_ask_to_be_run_again():
    now, later = verdict(ended(DONE_SWITCH, exit_code=66 << 8)), verdict(ended(DONE_SWITCH, exit_code=67 << 8))
    assert (now.outcome, now.task, now.code) == (Outcome.RESUBMIT, BACK, "RESUBMIT")
    assert (later.outcome, later.task, later.code) == (Outcome.RESUBMIT_END, BACK, "RESUBMIT_END")
    assert now.priority > 10 > later.priority


def test_a_signal_is_not_taken_for_an_exit_code():
    assert verdict(ended(DONE_SWITCH, exit_code=66)).outcome is Outcome.EXIT


def test_alike_failures_share_a_line_and_others_do_not():
    one, same, other = (verdict(ended(DONE_SWITCH, exit_code=code)) for code in (256, 256, 512))
    assert one == same and one.alike != other.alike and "exit code 1" in one.message


def test_failures_say_what_the_cluster_said():
    assert "/home/nowhere" in verdict(REPORTED["bad directory (11070)"][0]).message
    assert "User alice" in verdict(REPORTED["oardel while running (11076)"][0]).message
    assert "PING_CHECKER" in verdict(REPORTED["a node out of reach, not restarted"][0]).message
    assert "SWITCH_INTO_TERMINATE_STATE" in verdict(REPORTED["terminated without exit status"][0]).message


def test_lost_jobs():
    waiting, ran = outcome.lost(last_seen_waiting=True), outcome.lost(last_seen_waiting=False)
    assert (waiting.outcome, waiting.task, waiting.code) == (Outcome.LOST, BACK, "RESUBMIT")
    assert (ran.outcome, ran.task, ran.code) == (Outcome.LOST, SET_ASIDE, "JOB_LOST")
