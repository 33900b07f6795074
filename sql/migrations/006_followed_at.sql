-- Nobody ever wrote it.
ALTER TABLE cluster_status DROP COLUMN followed_at;
