-- The tables of a CiGri 3.2 as its databases have them, for tests that fill one. Names and types are the interface.
CREATE TYPE api AS ENUM ('oar2_5', 'g5k', 'oar3');
CREATE TYPE auth_type AS ENUM ('none', 'password', 'cert', 'jwt');
CREATE TYPE campaign_state AS ENUM ('cancelled', 'in_treatment', 'paused', 'terminated');
CREATE TYPE job_state AS ENUM
    ('to_launch', 'launching', 'submitted', 'running', 'remote_waiting', 'terminated', 'event', 'batch_waiting');
CREATE TYPE event_class AS ENUM ('cluster', 'job', 'campaign', 'notify', 'log');
CREATE TYPE event_state AS ENUM ('open', 'closed');
CREATE TYPE checkbox AS ENUM ('yes', 'no');
CREATE TYPE notifications AS ENUM ('mail', 'xmpp', 'log', 'irc');
CREATE TYPE tap_state AS ENUM ('open', 'closed');

CREATE TABLE schema (version varchar(255) NOT NULL, name varchar(255) NOT NULL);
CREATE TABLE clusters (
    id serial PRIMARY KEY, name varchar(255) NOT NULL, api_url varchar(255) NOT NULL,
    api_auth_type auth_type NOT NULL DEFAULT 'password', api_username varchar(255), api_password varchar(255),
    api_auth_header varchar(255), api_chunk_size integer NOT NULL DEFAULT 100, api_limit integer NOT NULL DEFAULT 100,
    ssh_host varchar(255), batch api NOT NULL, resource_unit varchar(255) DEFAULT 'resource_id', power integer,
    properties varchar(255), stress_factor float DEFAULT 0, enabled boolean DEFAULT true);
CREATE TABLE users_mapping (
    id serial, grid_login varchar(255) NOT NULL, cluster_login varchar(255), cluster_id integer,
    PRIMARY KEY (grid_login, cluster_id));
CREATE TABLE campaigns (
    id serial PRIMARY KEY, grid_user varchar(255) NOT NULL, state campaign_state NOT NULL, type varchar(255) NOT NULL,
    name varchar(255), submission_time timestamptz, completion_time timestamptz, nb_jobs integer, jdl text);
CREATE TABLE campaign_properties (
    id serial PRIMARY KEY, cluster_id integer, campaign_id integer NOT NULL, name varchar(255) NOT NULL,
    value text NOT NULL);
CREATE TABLE parameters (
    id bigserial PRIMARY KEY, campaign_id integer NOT NULL, name varchar(255), param text, UNIQUE (campaign_id, name));
CREATE TABLE bag_of_tasks (
    id bigserial PRIMARY KEY, campaign_id integer NOT NULL, param_id integer NOT NULL,
    priority integer NOT NULL DEFAULT 10);
CREATE TABLE jobs_to_launch (
    id bigserial PRIMARY KEY, task_id bigint NOT NULL, cluster_id integer NOT NULL, tag varchar(255),
    queuing_date timestamptz, runner_options text, order_num integer NOT NULL DEFAULT 1);
CREATE TABLE jobs (
    id bigserial PRIMARY KEY, campaign_id integer NOT NULL, param_id integer NOT NULL, batch_id integer,
    cluster_id integer, collect_id integer, state job_state NOT NULL, return_code integer, submission_time timestamptz,
    start_time timestamptz, stop_time timestamptz, node_name varchar(255), resources_used integer, remote_id bigint,
    tag varchar(255), runner_options text);
CREATE TABLE events (
    id bigserial PRIMARY KEY, class event_class NOT NULL, code varchar(32) NOT NULL, state event_state NOT NULL,
    job_id integer, cluster_id integer, campaign_id integer, parent integer, checked checkbox,
    notified boolean NOT NULL DEFAULT false, date_open timestamptz, date_closed timestamptz, date_update timestamptz,
    message text);
CREATE TABLE queue_counts (date timestamptz, campaign_id integer, cluster_id integer, jobs_count integer);
CREATE TABLE admission_rules (id serial NOT NULL, code text);
CREATE TABLE user_notifications (
    id serial, grid_user varchar(255) NOT NULL, type notifications, identity varchar(255), severity varchar(32),
    UNIQUE (grid_user, identity, type));
CREATE TABLE grid_usage (
    id bigserial PRIMARY KEY, date timestamptz NOT NULL, cluster_id integer, max_resources integer,
    used_resources integer, unavailable_resources integer, used_by_cigri integer);
CREATE TABLE users_priority (
    id serial, grid_user varchar(255) NOT NULL, cluster_id integer NOT NULL, priority integer NOT NULL);
CREATE TABLE tasks_affinity (
    id bigserial PRIMARY KEY, param_id integer NOT NULL, cluster_id integer NOT NULL, priority integer NOT NULL);
CREATE TABLE taps (
    id bigserial PRIMARY KEY, cluster_id integer NOT NULL, campaign_id integer NOT NULL,
    state tap_state NOT NULL DEFAULT 'open', rate integer NOT NULL, close_date timestamptz);
