-- How many events a campaign has had is counted without looking at them.
DROP INDEX events_of_campaign, archived_events_of_campaign;
CREATE INDEX events_of_campaign ON events (campaign_id, id) INCLUDE (code);
CREATE INDEX archived_events_of_campaign ON archived_events (campaign_id, id) INCLUDE (code);
