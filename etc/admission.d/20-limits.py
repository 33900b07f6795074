# How much a user may have in the grid: MAX_TASKS_PER_CAMPAIGN and MAX_CAMPAIGNS_PER_USER in cigri.conf; 0 is no limit.
# Administrators have none.

from cigri.admission import Refuse


def admit(jdl, user, context):
    if user in context.administrators:
        return
    if context.max_tasks and context.tasks > context.max_tasks:
        raise Refuse(
            f"A campaign may have {context.max_tasks} tasks here (MAX_TASKS_PER_CAMPAIGN), this one would have "
            f"{context.tasks}: make several campaigns of it"
        )
    if context.opens and context.max_campaigns and context.unfinished >= context.max_campaigns:
        raise Refuse(
            f"A user may have {context.max_campaigns} unfinished campaigns here (MAX_CAMPAIGNS_PER_USER), and you have "
            f"{context.unfinished}: wait until one has ended, or add tasks to one (gridsub -c)"
        )
