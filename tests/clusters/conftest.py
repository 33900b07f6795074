"""What the tests of the clients share: replies that were recorded, in place of a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock
