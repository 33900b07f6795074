"""Whether the books balance: what must be true at every moment, whatever has died."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

# Each query gives the rows that break a rule, one sentence each.
_RULES = (
    """SELECT format('campaign %s: %s tasks declared, %s there', c.id, c.total_tasks, count(t.id) + c.archived_tasks)
       FROM campaigns c LEFT JOIN tasks t ON t.campaign_id = c.id
       WHERE c.purged_at IS NULL
       GROUP BY c.id HAVING count(t.id) + c.archived_tasks <> c.total_tasks""",
    """SELECT format('campaign %s: %s tasks are %s, the counters say %s', counted.campaign_id, counted.n, counted.state,
                     coalesce(kept.n, 0))
       FROM (SELECT campaign_id, state, count(*) AS n FROM tasks GROUP BY 1, 2) AS counted
       LEFT JOIN (SELECT campaign_id, state::task_state, n FROM campaign_progress, LATERAL (VALUES
                  ('pending', pending), ('active', active), ('done', done), ('failed', failed),
                  ('cancelled', cancelled)) AS v(state, n)) AS kept
         ON kept.campaign_id = counted.campaign_id AND kept.state = counted.state
       JOIN campaigns c ON c.id = counted.campaign_id AND c.purged_at IS NULL
       -- Of a campaign that was archived once these are only some of its tasks.
       WHERE counted.n > coalesce(kept.n, 0) OR (c.archived_tasks = 0 AND counted.n < coalesce(kept.n, 0))""",
    """SELECT format('campaign %s: the counters add up to %s of %s tasks', c.id,
                     p.pending + p.active + p.done + p.failed + p.cancelled, c.total_tasks)
       FROM campaigns c JOIN campaign_progress p ON p.campaign_id = c.id
       WHERE p.pending + p.active + p.done + p.failed + p.cancelled <> c.total_tasks""",
    """SELECT format('task %s is of campaign %s, which is not there', id, campaign_id) FROM tasks t
       WHERE NOT EXISTS (SELECT FROM campaigns c WHERE c.id = t.campaign_id)""",
    """SELECT format('job %s is of task %s, submission %s and campaign %s: one of them is not there', j.id,
                     coalesce(j.task_id::text, '-'), coalesce(j.submission_id::text, '-'), j.campaign_id)
       FROM jobs j WHERE NOT EXISTS (SELECT FROM campaigns c WHERE c.id = j.campaign_id)
          OR NOT EXISTS (SELECT FROM clusters k WHERE k.id = j.cluster_id)
          OR (j.task_id IS NOT NULL AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = j.task_id))
          OR (j.submission_id IS NOT NULL AND NOT EXISTS (SELECT FROM submissions s WHERE s.id = j.submission_id))""",
    """SELECT format('task %s is active and has no live job', t.id) FROM tasks t
       WHERE t.state = 'active' AND NOT EXISTS
         (SELECT FROM jobs j WHERE j.task_id = t.id AND j.state NOT IN ('terminated', 'event'))""",
    """SELECT format('job %s is live, its task %s is %s', j.id, t.id, t.state)
       FROM jobs j JOIN tasks t ON t.id = j.task_id
       WHERE j.state NOT IN ('terminated', 'event') AND t.state IN ('pending', 'failed')""",
    """SELECT format('job %s succeeded, its task %s is %s', j.id, t.id, t.state)
       FROM jobs j JOIN tasks t ON t.id = j.task_id
       WHERE j.state = 'terminated' AND t.state <> 'done'""",
    """SELECT format('job %s is being sent, its submission %s is %s', j.id, s.name, s.state)
       FROM jobs j JOIN submissions s ON s.id = j.submission_id WHERE j.state = 'launching' AND s.state <> 'sending'""",
    """SELECT format('job %s is %s, its submission %s is %s', j.id, j.state, s.name, s.state)
       FROM jobs j JOIN submissions s ON s.id = j.submission_id
       WHERE s.state IN ('sending', 'void') AND j.state <> 'launching'""",
    """SELECT format('campaign %s is %s and has %s pending tasks', c.id, c.state, p.pending)
       FROM campaigns c JOIN campaign_progress p ON p.campaign_id = c.id
       WHERE c.state IN ('terminated', 'cancelled') AND p.pending > 0 AND NOT c.clearing""",
    """SELECT format('campaign %s is terminated and has %s active tasks', c.id, p.active)
       FROM campaigns c JOIN campaign_progress p ON p.campaign_id = c.id
       WHERE c.state = 'terminated' AND p.active > 0""",
    """SELECT format('event %s is an open blacklist, its parent %s is closed', e.id, p.id)
       FROM events e JOIN events p ON p.id = e.parent
       WHERE e.code = 'BLACKLIST' AND e.state = 'open' AND p.state = 'closed'""",
    """SELECT format('campaign %s was archived and has %s tasks that are not', c.id, count(*))
       FROM campaigns c JOIN tasks t ON t.campaign_id = c.id WHERE c.archived_at IS NOT NULL GROUP BY c.id""",
)

# These read the archive, which is large and in which nothing changes.
_ARCHIVE = (
    """SELECT format('campaign %s: %s tasks were archived, %s are there', c.id, c.archived_tasks, coalesce(a.n, 0))
       FROM campaigns c
       LEFT JOIN (SELECT campaign_id, count(*) AS n FROM archived_tasks GROUP BY 1) AS a ON a.campaign_id = c.id
       WHERE c.purged_at IS NULL AND c.archived_tasks <> coalesce(a.n, 0)""",
    """SELECT format('campaign %s: %s of its tasks, archived and not, are %s, the counters say %s', c.id, counted.n,
                     counted.state, coalesce(kept.n, 0))
       FROM (SELECT campaign_id, state, count(*) AS n FROM all_tasks GROUP BY 1, 2) AS counted
       JOIN campaigns c ON c.id = counted.campaign_id AND c.purged_at IS NULL AND c.archived_tasks > 0
       LEFT JOIN (SELECT campaign_id, state::task_state, n FROM campaign_progress, LATERAL (VALUES
                  ('pending', pending), ('active', active), ('done', done), ('failed', failed),
                  ('cancelled', cancelled)) AS v(state, n)) AS kept
         ON kept.campaign_id = counted.campaign_id AND kept.state = counted.state
       WHERE counted.n <> coalesce(kept.n, 0)""",
    """SELECT format('archived job %s succeeded, its task %s is %s', j.id, t.id, t.state)
       FROM archived_jobs j JOIN archived_tasks t ON t.campaign_id = j.campaign_id AND t.id = j.task_id
       WHERE j.state = 'terminated' AND t.state <> 'done'""",
    """SELECT format('archived job %s is of task %s, which is not there', j.id, j.task_id) FROM archived_jobs j
       WHERE NOT EXISTS (SELECT FROM all_tasks t WHERE t.campaign_id = j.campaign_id AND t.id = j.task_id)""",
)


def faults(session: Session, *, archive: bool = False) -> list[str]:
    """One sentence for each thing that is not as it must be, read at one moment; in the archive, too, if so wanted."""
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    rules = _RULES + _ARCHIVE if archive else _RULES
    return [sentence for rule in rules for sentence in session.scalars(text(rule.replace("::", "\\:\\:")))]
