-- The load of what a cluster's jobs use together with others, a file server's for instance, and how many jobs it allows;
-- and how long submissions take there, which is one part of the delay of the loop that controls their number.

ALTER TABLE clusters
    ADD COLUMN load_sensor    text CHECK (load_sensor <> ''), -- a command or a URL; NULL: none
    ADD COLUMN load_reference double precision CHECK (load_reference > 0),
    ADD CONSTRAINT clusters_load_check CHECK ((load_sensor IS NULL) = (load_reference IS NULL));

-- What the sensors said, one row for all clusters that name the same.
CREATE TABLE load_sensors (
    sensor     text PRIMARY KEY,
    load       double precision,       -- NULL: never read
    read_at    timestamptz,            -- when it was read last
    fault      text NOT NULL DEFAULT '', -- why that failed the last time; empty: it did not
    ceiling    double precision,       -- jobs in flight that the load allows now, on all these clusters together
    ceiling_at timestamptz             -- the reading that it follows from
);

ALTER TABLE cluster_status
    ADD COLUMN stress_ceiling    double precision, -- the same for the cluster's own stress; NULL: it allows all
    ADD COLUMN stress_ceiling_at timestamptz,
    ADD COLUMN submission_time   double precision NOT NULL DEFAULT 1; -- seconds, smoothed
