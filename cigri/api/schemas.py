"""The shapes of bodies, as the OpenAPI description has them (JSON Schema 2020-12), each with an example."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
MAYBE_STRING: Schema = {"type": ["string", "null"]}
MAYBE_INTEGER: Schema = {"type": ["integer", "null"]}


def one_of(*words: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(words)}


def ref(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    """An object with any keys."""
    return {"type": "object", "additionalProperties": values}


def thing(example: Any, optional: Schema | None = None, **fields: Schema) -> Schema:
    """An object that has all `fields`, and may have the `optional` ones."""
    properties = {name.rstrip("_"): schema for name, schema in fields.items()}
    required = list(properties)
    return {
        "type": "object",
        "properties": properties | (optional or {}),
        "required": required,
        "example": example,
    }


def listed(items: str, *, paged: bool = False, **fields: Schema) -> Schema:
    """A list as replies have it."""
    pages = {"limit": INTEGER, "offset": INTEGER} if paged else {}
    example: dict[str, Any] = {"items": [SCHEMAS[items]["example"]], "total": 1}
    example |= {"limit": 100, "offset": 0} if paged else {}
    example |= {"links": [{"rel": "self", "href": "/..."}]}
    return thing(example, None, items=array(ref(items)), total=INTEGER, links=array(ref("Link")), **pages, **fields)


def streamed(items: str) -> Schema:
    """A list that is not counted; its link `next` is there when it goes on."""
    example = {"links": [{"rel": "self", "href": "/..."}], "items": [SCHEMAS[items]["example"]]}
    return thing(example, links=array(ref("Link")), items=array(ref(items)))


DATE = "2026-05-06T07:08:09+02:00"
LINK = {"rel": "self", "href": "/campaigns/12"}
CAMPAIGN: dict[str, Schema] = {
    "id": INTEGER,
    "name": STRING,
    "user": STRING,
    "state": one_of("in_treatment", "paused", "cancelled", "terminated"),
    "has_events": BOOLEAN,
    "submission_time": {**INTEGER, "description": "unix seconds"},
    "total_jobs": INTEGER,
    "finished_jobs": INTEGER,
    "links": array(ref("Link")),
}
SHORT = {
    "id": 12, "name": "pi", "user": "alice", "state": "in_treatment", "has_events": False,
    "submission_time": 1778044089, "total_jobs": 3, "finished_jobs": 1, "links": [LINK],
}  # fmt: skip
USE = {"cluster_name": "tiger", "active_jobs": 1, "queued_jobs": 0, "prologue_ok": True, "epilogue_ok": True}
COUNTS = {"pending": 1, "active": 1, "done": 1, "failed": 0, "cancelled": 0}
WHOLE = SHORT | {"clusters": {"1": USE}, "tasks": COUNTS}
JOB = {
    "id": 345, "param": "first 10", "grid_user": "alice", "campaign_id": 12, "param_id": 901, "batch_id": None,
    "cluster_id": 1, "cluster_name": "tiger", "collect_id": None, "state": "event", "return_code": 256,
    "exit_status": "exit code 1", "submission_time": DATE, "start_time": DATE, "stop_time": DATE,
    "node_name": "node-1", "resources_used": 1, "remote_id": 77, "tag": None,
    "runner_options": '{"besteffort": true}', "outcome": "exit", "event_id": 5,
}  # fmt: skip
JOB_FIELDS: dict[str, Schema] = {
    "id": INTEGER, "param": MAYBE_STRING, "grid_user": STRING, "campaign_id": INTEGER, "param_id": MAYBE_INTEGER,
    "batch_id": MAYBE_INTEGER, "cluster_id": INTEGER, "cluster_name": STRING, "collect_id": MAYBE_INTEGER,
    "state": one_of(
        "to_launch", "launching", "submitted", "remote_waiting", "batch_waiting", "running", "terminated", "event"
    ),
    "return_code": MAYBE_INTEGER, "exit_status": MAYBE_STRING, "submission_time": MAYBE_STRING,
    "start_time": MAYBE_STRING, "stop_time": MAYBE_STRING, "node_name": MAYBE_STRING,
    "resources_used": MAYBE_INTEGER, "remote_id": MAYBE_INTEGER, "tag": MAYBE_STRING, "runner_options": STRING,
    "outcome": MAYBE_STRING, "event_id": MAYBE_INTEGER,
}  # fmt: skip
EVENT = {
    "id": 5, "class": "job", "code": "EXIT_ERROR", "job_id": 345, "cluster_id": 1, "cluster_name": "tiger",
    "date_open": DATE, "message": "exit code 1", "parent": None, "state": "open", "count": 3, "last_job_id": 350,
    "date_last": DATE, "waits_for": "its owner has to close it: gridevents -e 5 -f",
}  # fmt: skip
EVENT_FIELDS: dict[str, Schema] = {
    "id": INTEGER, "class_": one_of("cluster", "job", "campaign", "notify", "log"), "code": STRING,
    "job_id": MAYBE_INTEGER, "cluster_id": MAYBE_INTEGER, "cluster_name": MAYBE_STRING, "date_open": STRING,
    "message": STRING, "parent": MAYBE_INTEGER, "state": one_of("open", "closed"), "count": INTEGER,
    "last_job_id": MAYBE_INTEGER, "date_last": STRING, "waits_for": MAYBE_STRING,
}  # fmt: skip
CLUSTER = {
    "id": 1, "name": "tiger", "api_url": "https://tiger.example.org/oarapi", "api_auth_type": "jwt",
    "api_auth_header": "X-Remote-Ident", "ssh_host": "tiger", "batch": "oar3", "resource_unit": "resource_id",
    "power": 1, "properties": "", "api_chunk_size": 100, "api_limit": 100, "enabled": True, "links": [LINK],
    "blacklisted": False, "under_stress": False, "stress_factor": "0.2/0.8",
}  # fmt: skip
TASK = {
    "id": 901, "name": "first", "parameters": "first 10", "cluster": "tiger", "cigri_job_id": 345, "remote_id": 77,
    "state": "running", "href": "/campaigns/12/jobs/901",
}  # fmt: skip
TRY = {"id": 345, "cluster_id": 1, "cluster_name": "tiger", "state": "running", "return_code": None, "remote_id": 77}
JDL = {"name": "pi", "clusters": {"tiger": {"exec_file": "$HOME/run"}}, "params": ["first 10", "second 20"]}
USAGE = {
    "cluster_name": "tiger", "cluster_id": 1, "max_resources": 64, "used_resources": 60, "used_by_cigri": 20,
    "unavailable_resources": 2,
}  # fmt: skip
FAULT = {"path": "clusters.tiger.exec_file", "message": "is missing", "value": None}
LINKED: dict[str, Schema] = {"links": array(ref("Link"))}

SCHEMAS: dict[str, Schema] = {}
SCHEMAS |= {
    "Link": thing(LINK, {"title": STRING}, rel=STRING, href=STRING),
    "Error": thing(
        {"status": 404, "title": "Not found", "message": "There is no campaign 12"},
        {"faults": array(thing(FAULT, path=STRING, message=STRING, value=MAYBE_STRING))},
        status=INTEGER,
        title=STRING,
        message=STRING,
    ),
    "Done": thing(
        {"status": 202, "title": "Accepted", "message": "Campaign 12 paused"},
        {"events": INTEGER, "tasks": INTEGER},
        status=INTEGER,
        title=STRING,
        message=STRING,
    ),
    "Root": thing({"links": [LINK]}, links=array(ref("Link"))),
    "Usage": thing(
        {"date": 1778044089, "clusters": [USAGE]},
        date=INTEGER,
        clusters=array(thing(USAGE, **{key: STRING if key == "cluster_name" else INTEGER for key in USAGE})),
    ),
    "ClusterName": thing({"id": 1, "name": "tiger", "links": [LINK]}, id=INTEGER, name=STRING, **LINKED),
    "Cluster": thing(
        CLUSTER,
        id=INTEGER, name=STRING, api_url=STRING, api_auth_type=STRING, api_auth_header=STRING, ssh_host=STRING,
        batch=STRING, resource_unit=STRING, power=INTEGER, properties=STRING, api_chunk_size=INTEGER,
        api_limit=INTEGER, enabled=BOOLEAN, blacklisted=BOOLEAN, under_stress=BOOLEAN, stress_factor=STRING, **LINKED,
    ),
    "CampaignInShort": thing(SHORT, **CAMPAIGN),
    "Campaign": thing(
        WHOLE,
        {"walltimes": mapping(STRING), "warnings": array(STRING)},
        **CAMPAIGN,
        clusters=mapping(
            thing(
                USE,
                cluster_name=STRING, active_jobs=INTEGER, queued_jobs=INTEGER, prologue_ok=BOOLEAN,
                epilogue_ok=BOOLEAN,
            )
        ),
        tasks=thing(COUNTS, **dict.fromkeys(COUNTS, INTEGER)),
    ),
    "DryRun": thing(
        {"status": 200, "title": "OK", "message": "Campaign pi is good", "total_jobs": 2,
         "walltimes": {"tiger": "1:00:00"}, "warnings": [], "jdl": JDL},
        status=INTEGER, title=STRING, message=STRING, total_jobs=INTEGER, walltimes=mapping(STRING),
        warnings=array(STRING), jdl={"type": "object"},
    ),
    "Changes": thing(
        {"name": "another", "state": "paused"}, {"name": STRING, "state": one_of("paused", "in_treatment")}
    ),
    "Jdl": thing(JDL, name=STRING, clusters={"type": "object"}) | {"description": "docs/jdl.md has every key"},
    "ExpandedJdl": thing(
        JDL, name=STRING, clusters=mapping({"type": "object"}), jobs_type=STRING, params=array(STRING)
    ),
    "Parameters": array({"type": ["string", "number"]}) | {"example": ["third 30", "fourth 40"]},
    "Statistics": thing(
        {"average_jobs_duration": 61.5, "stddev_jobs_duration": 3.2, "jobs_throughput": 0.5, "remaining_time": 4.0,
         "failures_rate": 0.0, "resubmit_rate": 0.1},
        average_jobs_duration=NUMBER, stddev_jobs_duration=NUMBER, jobs_throughput=NUMBER, remaining_time=NUMBER,
        failures_rate=NUMBER, resubmit_rate=NUMBER,
    ),
    "File": thing(
        {"job_id": 345, "cluster_id": 1, "cluster_name": "tiger", "path": "/home/alice/OAR.77.stdout"},
        job_id=INTEGER, cluster_id=INTEGER, cluster_name=STRING, path=STRING,
    ),
    "Task": thing(
        TASK,
        id=INTEGER, name=STRING, parameters=STRING, cluster=MAYBE_STRING, cigri_job_id=MAYBE_INTEGER,
        remote_id=MAYBE_INTEGER, state=STRING, href=STRING,
    ),
    "TaskWithTries": thing(
        {"id": 901, "name": "first", "parameters": "first 10", "state": "running", "links": [LINK], "execution": [TRY]},
        id=INTEGER, name=STRING, parameters=STRING, state=STRING, **LINKED,
        execution=array(
            thing(
                TRY,
                id=INTEGER, cluster_id=INTEGER, cluster_name=STRING, state=STRING, return_code=MAYBE_INTEGER,
                remote_id=MAYBE_INTEGER,
            )
        ),
    ),
    "JobFacts": thing(JOB, **JOB_FIELDS),
    "Job": thing(JOB | {"links": [LINK]}, **JOB_FIELDS, **LINKED),
    "Output": thing({"output": "digits of pi: first 10\n"}, output=STRING),
    "Record": {
        "type": "object", "description": "as the batch scheduler tells it", "example": {"id": 77, "state": "Running"}
    },
    "EventInShort": thing(EVENT, **EVENT_FIELDS),
    "Event": thing(
        EVENT | {"campaign_id": 12, "date_closed": None, "links": [LINK]},
        **EVENT_FIELDS, campaign_id=MAYBE_INTEGER, date_closed=MAYBE_STRING, **LINKED,
    ),
    "NewEvent": thing(
        {"class": "cluster", "code": "CLUSTER_MANUALLY_DISABLED", "cluster_id": 1, "message": "Maintenance till noon"},
        {"class": STRING, "cluster_id": INTEGER, "job_id": INTEGER, "message": STRING},
        code=one_of("CLUSTER_MANUALLY_DISABLED", "BLACKLIST", "MANUAL_EVENT"),
    ),
    "Created": thing(
        {"status": 201, "title": "Created", "message": "New event created", "id": 6},
        {"id": INTEGER, "job_id": INTEGER},
        status=INTEGER, title=STRING, message=STRING,
    ),
    "Subscription": thing(
        {"type": "mail", "identity": "alice@example.org", "severity": "low"},
        type=one_of("mail", "jabber", "webhook"), identity=STRING, severity=one_of("low", "medium", "high"),
    ),
    "NewSubscription": thing(
        {"identity": "alice@example.org", "severity": "low"},
        {"severity": one_of("low", "medium", "high")},
        identity=STRING,
    ),
    "Subscribed": thing(
        {"status": 201, "title": "Created", "message": "Subscribed", "type": "mail", "identity": "alice@example.org",
         "severity": "low"},
        status=INTEGER, title=STRING, message=STRING, type=STRING, identity=STRING, severity=STRING,
    ),
    "Token": thing(
        {"cluster_id": 1, "cluster_name": "tiger", "cluster_login": "Bearer ********", "login": "alice",
         "expires_at": DATE, "expired": False},
        {"message": STRING},
        cluster_id=INTEGER, cluster_name=STRING, cluster_login=STRING, login=STRING, expires_at=MAYBE_STRING,
        expired=BOOLEAN,
    ),
    "NewToken": thing(
        {"cluster_id": 1, "token": "eyJ..."}, cluster_id={"type": ["integer", "string"]}, token=STRING
    ),
    "PersonalToken": thing(
        {"id": 3, "created_at": DATE, "expires_at": DATE, "last_used_at": None},
        id=INTEGER, created_at=STRING, expires_at=STRING, last_used_at=MAYBE_STRING,
    ),
    "NewPersonalToken": thing({"days": 30}, {"days": {**INTEGER, "minimum": 1, "maximum": 366}}),
    "MadePersonalToken": thing(
        {"id": 3, "created_at": DATE, "expires_at": DATE, "last_used_at": None, "token": "cigri_..."},
        id=INTEGER, created_at=STRING, expires_at=STRING, last_used_at=MAYBE_STRING, token=STRING,
    ),
}  # fmt: skip
SCHEMAS |= {
    "Usages": listed("Usage", from_=MAYBE_STRING, to=MAYBE_STRING),
    "Clusters": listed("ClusterName"),
    "Campaigns": listed("CampaignInShort"),
    "Tasks": listed("Task", paged=True),
    "Events": listed("EventInShort", paged=True),
    "Subscriptions": listed("Subscription"),
    "Tokens": listed("Token"),
    "PersonalTokens": listed("PersonalToken"),
    "Files": streamed("File"),
    "FinishedJobs": streamed("JobFacts"),
}
