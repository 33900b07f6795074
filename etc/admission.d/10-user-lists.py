# Who may submit work that is not best-effort: the users listed for a cluster under "normal_authorized" in the file
# USER_LISTS_FILE (/etc/cigri/user_lists). Without the file, or without an entry, nobody.

from cigri.admission import Refuse


def admit(jdl, user, context):
    wanted = [name for name, cluster in jdl["clusters"].items() if cluster["type"] != "best-effort"]
    if not wanted:
        return
    authorized = context.user_lists.get("normal_authorized", {})
    refused = [name for name in wanted if user not in authorized.get(name, [])]
    if refused:
        raise Refuse(
            f"You are not authorized to launch non best-effort jobs on cluster {', '.join(refused)}! "
            'Leave "type" out, or ask the administrator'
        )
