"""What is said about each event code: a headline, what it means for the reader, and what to type.

In the words: {n} how many, {tasks} "1 task" or "5 tasks", {id} the campaign, {job} the first job, {event} nothing
else. A code that is not here is told by its own name and message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cigri.core.events import meaning


@dataclass(frozen=True, slots=True)
class Phrase:
    """`advice`: pairs of a command and what it does."""

    headline: str
    sense: str = ""
    advice: tuple[tuple[str, str], ...] = ()


LOOK = ("gridstat -c {id} -e", "the open events of the campaign")
STDERR = ("gridstat -j {job} -E", "what the first of these jobs wrote to its standard error")
AGAIN = ("gridevents -c {id} -f -r", "close the events and run the tasks again")
DROP = ("gridevents -c {id} -f", "close the events and leave the tasks as they are")
STATE = ("gridstat -c {id}", "how the campaign stands")
FIX = ("gridevents -c {id} -f", "close the event when its cause is gone: the campaign gets jobs there again")
GLOBAL = ("gridevents -g", "the open events of the grid")
CLUSTERS = ("gridclusters -i", "how the clusters are")
TEST = ("gridadmin cluster test NAME", "try the cluster")

_FAILED = "Failed tasks are set aside; the campaign goes on with the others."
_AWAY = "The cluster gets no new job until it answers; it is tried again and again, nothing has to be done here."
_REFUSED = "The campaign gets no new job on this cluster until the event is closed."

PHRASES: Mapping[str, Phrase] = {
    "EXIT_ERROR": Phrase("{tasks} failed", _FAILED, (LOOK, STDERR, AGAIN, DROP)),
    "WORKING_DIRECTORY_ERROR": Phrase(
        "{tasks} failed: directory or output files cannot be used",
        f"{_FAILED} See whether exec_directory exists on the cluster and is yours.",
        (LOOK, AGAIN, DROP),
    ),
    "UNKNOWN_ERROR": Phrase("{tasks} ended without exit status", _FAILED, (LOOK, STDERR, AGAIN, DROP)),
    "USER_FRAG": Phrase("{tasks} deleted", _FAILED, (LOOK, AGAIN, DROP)),
    "TOO_MANY_RESUBMIT": Phrase(
        "{tasks} given up after too many tries",
        "They are set aside; a longer walltime, or less work per task, may be what they need.",
        (LOOK, STDERR, AGAIN, DROP),
    ),
    "JOB_LOST": Phrase(
        "{tasks} lost by the cluster",
        "They had started, and the cluster does not know them any more: see whether their results are there.",
        (LOOK, AGAIN, DROP),
    ),
    "CIGRI_WALLTIME": Phrase(
        "{tasks} over the walltime", "The cluster had not ended them: the grid did.", (LOOK, STATE)
    ),
    "DUPLICATE_RUN": Phrase(
        "{tasks} ran twice",
        "A second run was found on the cluster and not counted: see whether its results got mixed with the first.",
        (STATE,),
    ),
    "LATE_SUCCESS": Phrase("{tasks} succeeded after they had been given up", "They count as done.", (STATE,)),
    "PROLOG_EXIT_ERROR": Phrase("the prologue failed", _REFUSED, (LOOK, STDERR, FIX)),
    "EPILOG_EXIT_ERROR": Phrase("the epilogue failed", "All tasks had ended before.", (LOOK, STDERR)),
    "RUNNER_SUBMIT_ERROR": Phrase("a cluster refuses the jobs", _REFUSED, (LOOK, FIX)),
    "RUNNER_SUBMIT_NOT_ENOUGH_RESOURCES": Phrase(
        "a cluster has not enough resources for the jobs", "It is tried again by itself.", (LOOK,)
    ),
    "RUNNER_SUBMIT_WEDGED": Phrase("a cluster hangs on the jobs", "It is tried again by itself.", (LOOK,)),
    "RUNNER_SUBMIT_TOO_LARGE": Phrase("a cluster finds the jobs too large", _REFUSED, (LOOK, FIX)),
    "RUNNER_SUBMIT_PERMISSION_DENIED": Phrase(
        "a cluster does not let you submit",
        _REFUSED,
        (("gridtoken -l", "your tokens for the clusters, and until when they are good"), FIX),
    ),
    "RUNNER_SUBMIT_TOKEN_NOT_FOUND": Phrase(
        "a cluster needs a token of yours",
        _REFUSED,
        (("gridtoken -i CLUSTER_ID -t TOKEN", "give the grid your token for the cluster"), FIX),
    ),
    "TOKEN_EXPIRES_SOON": Phrase(
        "your token for a cluster expires soon",
        "Without it your campaigns get no job there.",
        (
            ("gridtoken -l", "your tokens, and until when they are good"),
            ("gridtoken -i CLUSTER_ID -t TOKEN", "give the grid a new one"),
        ),
    ),
    "NEW_CAMPAIGN": Phrase("submitted", "", (STATE,)),
    "FINISHED_CAMPAIGN": Phrase("finished", "", (STATE, LOOK)),
    "PAUSED": Phrase("paused", "Running jobs go on, no new ones are started.", (("griddel -r {id}", "resume it"),)),
    "RESUMED": Phrase("resumed", "", (STATE,)),
    "TIMEOUT": Phrase("does not answer in time", _AWAY, (CLUSTERS, GLOBAL, TEST)),
    "CONNECTION_REFUSED": Phrase("refuses connections", _AWAY, (CLUSTERS, GLOBAL, TEST)),
    "CONNECTION_RESET": Phrase("cuts connections", _AWAY, (CLUSTERS, GLOBAL, TEST)),
    "CLUSTER_API_SERVER_ERROR": Phrase("answers with errors", _AWAY, (CLUSTERS, GLOBAL, TEST)),
    "CLUSTER_MANUALLY_DISABLED": Phrase(
        "blacklisted by hand", "It gets no new job until the event is closed.", (GLOBAL,)
    ),
    "UNDER_STRESS": Phrase("under stress", "It gets no new job until its stress factor is lower.", (CLUSTERS,)),
    "LOAD_SENSOR_FAILED": Phrase(
        "its load sensor fails", "Few jobs are sent to it until the sensor gives a load.", (TEST,)
    ),
    "STRAY_JOB": Phrase("{n} stray jobs", "Jobs that belong to nobody were found on it and dealt with.", (GLOBAL,)),
    "UNKNOWN_STATE": Phrase("has jobs in states that the grid does not know", "", (GLOBAL,)),
    "RUNNER_FAILED": Phrase(
        "its runner died", "It is started again; the cluster gets jobs when a runner stays alive.", (CLUSTERS,)
    ),
    "ALMIGHTY_STARTING": Phrase("the grid starts"),
    "ALMIGHTY_TERMINATING": Phrase("the grid stops"),
    "JUDAS_FAILED": Phrase("messages could not be delivered", "", (GLOBAL, ("gridnotify -l", "your subscriptions"))),
}


def phrase(code: str) -> Phrase:
    """What is said about the code."""
    found = PHRASES.get(code)
    if found is not None:
        return found
    advice = {"job": (LOOK,), "campaign": (LOOK,), "cluster": (CLUSTERS, GLOBAL)}.get(meaning(code).scope.value, ())
    return Phrase(code.replace("_", " ").capitalize(), "", advice)
