"""Tasks page by page: all of them, once, in order, also when other campaigns' tasks lie between them."""

from __future__ import annotations

import pytest

from cigri.db import campaigns
from cigri.db.views import tasks


@pytest.fixture(params=["made at once", "added to later"])
def campaign(books, request):
    cluster = books.cluster()
    books.campaign([cluster], 5)
    campaign_id = books.campaign([cluster], 7)
    books.campaign([cluster], 5)
    if request.param == "added to later":
        with books.transaction() as session:
            campaigns.add_tasks(session, campaign_id, [f"name{number} {number}" for number in range(7, 12)], 5)
    return campaign_id


def everything(session, campaign):
    return [f"name{number} {number}" for number in range(tasks.total(session, campaign))]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_pages_add_up(books, campaign, size):
    with books.transaction() as session:
        total = tasks.total(session, campaign)
        pages = [
            tasks.page(session, campaign, total, limit=size, offset=offset) for offset in range(0, total + size, size)
        ]
        assert [task.line for page in pages for task in page] == everything(session, campaign)
        assert pages[-1] == [] and all(len(page) <= size for page in pages)
        assert tasks.page(session, campaign, total, limit=0, offset=0) == []


def test_lines_follow_each_other(books, campaign):
    with books.transaction() as session:
        found, after = [], 0
        while some := tasks.lines(session, campaign, after=after, limit=4):
            found += some
            after = some[-1][0]
        assert [line for _, line in found] == everything(session, campaign)


def test_a_campaign_that_is_not_there(books, campaign):
    with books.transaction() as session:
        assert tasks.total(session, 10**6) == 0 and tasks.lines(session, 10**6, after=0, limit=5) == []
        assert tasks.page(session, 10**6, 5, limit=5, offset=0) == []
