"""Whether the books balance: what must be true at every moment, whatever has died."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

# Each query gives the rows that break a rule, one sentence each.
_RULES = (
    """SELECT format('campaign %s: %s tasks declared, %s there', c.id, c.total_tasks, count(t.id))
       FROM campaigns c LEFT JOIN tasks t ON t.campaign_id = c.id
       WHERE c.purged_at IS NULL
       GROUP BY c.id HAVING count(t.id) <> c.total_tasks""",
    """SELECT format('campaign %s: %s tasks are %s, the counters say %s', counted.campaign_id, counted.n, counted.state,
                     coalesce(kept.n, 0))
       FROM (SELECT campaign_id, state, count(*) AS n FROM tasks GROUP BY 1, 2) AS counted
       LEFT JOIN (SELECT campaign_id, state::task_state, n FROM campaign_progress, LATERAL (VALUES
                  ('pending', pending), ('active', active), ('done', done), ('failed', failed),
                  ('cancelled', cancelled)) AS v(state, n)) AS kept
         ON kept.campaign_id = counted.campaign_id AND kept.state = counted.state
       JOIN campaigns c ON c.id = counted.campaign_id AND c.purged_at IS NULL
       WHERE counted.n <> coalesce(kept.n, 0)""",
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
)


def faults(session: Session) -> list[str]:
    """One sentence for each thing that is not as it must be, read at one moment."""
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    return [sentence for rule in _RULES for sentence in session.scalars(text(rule.replace("::", "\\:\\:")))]
