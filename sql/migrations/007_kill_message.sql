-- Why an administrator sets a job aside, until the event says it.
ALTER TABLE jobs ADD COLUMN kill_message text;
