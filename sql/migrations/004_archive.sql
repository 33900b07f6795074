-- Old campaigns leave the tables that the daemons work on: `gridadmin maintenance` moves their tasks, jobs, submissions
-- and closed events here. Rows of one campaign may lie in both places; the views all_* are where they are read.
-- Few columns (what only a living job has is left out), few indexes, no references: nothing here changes any more.

ALTER TABLE campaigns
    ADD COLUMN archived_tasks integer NOT NULL DEFAULT 0 CHECK (archived_tasks >= 0), -- how many are in archived_tasks
    ADD COLUMN archived_at timestamptz; -- all of it was moved, and nothing has changed since
CREATE INDEX campaigns_to_archive ON campaigns (ended_at)
    WHERE ended_at IS NOT NULL AND archived_at IS NULL AND purged_at IS NULL;

CREATE TABLE archived_tasks (
    id          bigint NOT NULL,
    campaign_id integer NOT NULL,
    state       task_state NOT NULL CHECK (state IN ('done', 'failed', 'cancelled')),
    priority    smallint NOT NULL,
    line        text NOT NULL,
    PRIMARY KEY (campaign_id, id)
);

-- Tries of tasks. Prologues and epilogues are few, and their stages refer to them: they stay in jobs.
CREATE TABLE archived_jobs (
    id            bigint PRIMARY KEY,
    task_id       bigint NOT NULL,
    submission_id bigint,
    remote_id     bigint,
    created_at    timestamptz NOT NULL,
    start_time    timestamptz,
    stop_time     timestamptz,
    ended_at      timestamptz NOT NULL,
    event_id      bigint,
    campaign_id   integer NOT NULL,
    cluster_id    integer NOT NULL,
    state         job_state NOT NULL CHECK (state IN ('terminated', 'event')),
    array_index   integer,
    walltime      integer,
    exit_code     integer,
    resources_used integer,
    chain         bigint[], -- NULL: none
    outcome       text,
    kill_reason   text,
    node_name     text,
    stdout_path   text,
    stderr_path   text
);
CREATE INDEX archived_jobs_of_campaign ON archived_jobs (campaign_id, id);
CREATE INDEX archived_jobs_of_task ON archived_jobs (task_id);

CREATE TABLE archived_submissions (
    id          bigint PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    campaign_id integer NOT NULL,
    cluster_id  integer NOT NULL,
    login       text NOT NULL,
    state       submission_state NOT NULL CHECK (state <> 'sending'),
    size        integer NOT NULL,
    sent_at     timestamptz NOT NULL,
    settled_at  timestamptz NOT NULL,
    array_id    bigint,
    message     text,
    void_jobs   bigint[] NOT NULL,
    void_tasks  bigint[] NOT NULL
);
CREATE INDEX archived_submissions_of_campaign ON archived_submissions (campaign_id);

CREATE TABLE archived_events (
    id          bigint PRIMARY KEY,
    class       event_class NOT NULL,
    code        text NOT NULL,
    campaign_id integer,
    cluster_id  integer,
    job_id      bigint,
    last_job_id bigint,
    count       integer NOT NULL,
    alike       text NOT NULL,
    parent      bigint,
    message     text NOT NULL,
    date_open   timestamptz NOT NULL,
    date_last   timestamptz NOT NULL,
    date_closed timestamptz NOT NULL,
    grid_user   text
);
CREATE INDEX archived_events_of_campaign ON archived_events (campaign_id, id);

-- What the planner takes apart again: each side is read by its own indexes.
CREATE VIEW all_tasks AS
    SELECT id, campaign_id, state, priority, line FROM tasks
    UNION ALL SELECT id, campaign_id, state, priority, line FROM archived_tasks;

CREATE VIEW all_jobs AS
    SELECT id, kind, task_id, campaign_id, cluster_id, submission_id, state, remote_id, chain, array_index, created_at,
           start_time, stop_time, walltime, exit_code, outcome, node_name, resources_used, stdout_path, stderr_path,
           event_id, kill_reason, ended_at
    FROM jobs
    UNION ALL
    SELECT id, 'task'::job_kind, task_id, campaign_id, cluster_id, submission_id, state, remote_id,
           coalesce(chain, '{}'::bigint[]), array_index, created_at, start_time, stop_time, walltime, exit_code, outcome,
           node_name, resources_used, stdout_path, stderr_path, event_id, kill_reason, ended_at
    FROM archived_jobs;

CREATE VIEW all_submissions AS
    SELECT id, name, campaign_id, cluster_id, login, state, size, sent_at, settled_at, array_id, message, void_jobs,
           void_tasks
    FROM submissions
    UNION ALL
    SELECT id, name, campaign_id, cluster_id, login, state, size, sent_at, settled_at, array_id, message, void_jobs,
           void_tasks
    FROM archived_submissions;

CREATE VIEW all_events AS
    SELECT id, class, code, state, campaign_id, cluster_id, job_id, last_job_id, count, alike, parent, message, date_open,
           date_last, date_closed, probe_at, grid_user
    FROM events
    UNION ALL
    SELECT id, class, code, 'closed'::event_state, campaign_id, cluster_id, job_id, last_job_id, count, alike, parent,
           message, date_open, date_last, date_closed, NULL::timestamptz, grid_user
    FROM archived_events;
