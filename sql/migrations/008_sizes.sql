-- How many resources a job asks for on a cluster, and whether all that is free there is good for it.
ALTER TABLE campaign_clusters
    ADD COLUMN cores integer NOT NULL DEFAULT 1 CHECK (cores > 0),
    ADD COLUMN choosy boolean NOT NULL DEFAULT false;
UPDATE campaign_clusters AS pair SET choosy = true
    FROM campaigns, clusters
    WHERE campaigns.id = pair.campaign_id AND clusters.id = pair.cluster_id
      AND coalesce(campaigns.jdl #>> ARRAY['clusters', clusters.name, 'properties'], '') <> '';
-- How many resources one unit of a cluster (resource_unit) has.
ALTER TABLE cluster_status ADD COLUMN unit_size double precision NOT NULL DEFAULT 1;
