-- How many resources a job asks for on a cluster, and whether all that is free there is good for it.
ALTER TABLE campaign_clusters
    ADD COLUMN cores integer NOT NULL DEFAULT 1 CHECK (cores > 0),
    ADD COLUMN choosy boolean NOT NULL DEFAULT false;
UPDATE campaign_clusters AS pair
    SET choosy = coalesce(job ->> 'properties', '') <> '' OR coalesce(job ->> 'resources', '') LIKE '%{%' OR EXISTS (
            SELECT FROM regexp_split_to_table(job ->> 'resources', '\+') AS request
            WHERE request !~ '(^|/)\s*(core|cpucore|thread|resource_id)\s*=\s*\d+\s*$'),
        cores = CASE WHEN job ->> 'walltime' ~ '^\d{1,4}:[0-5]?\d:[0-5]?\d$'
            THEN greatest(1, least(1000000, round(
                longest / greatest(1, extract(epoch FROM CAST(job ->> 'walltime' AS interval))))))
            ELSE 1 END
    FROM campaigns, clusters, LATERAL (SELECT campaigns.jdl #> ARRAY['clusters', clusters.name] AS job) AS setting
    WHERE campaigns.id = pair.campaign_id AND clusters.id = pair.cluster_id AND jsonb_typeof(job) = 'object';
-- How many resources one unit of a cluster (resource_unit) has.
ALTER TABLE cluster_status ADD COLUMN unit_size double precision NOT NULL DEFAULT 1;
