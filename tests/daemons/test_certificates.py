"""A cluster behind a front that knows the grid by its certificate (auth type cert): a campaign from end to end."""

from __future__ import annotations

import dataclasses
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cigri.core.states import CampaignState
from cigri.db import clusters
from cigri.db.engine import transaction
from cigri.errors import ConfigError

CERTIFICATE = str(Path(__file__).parents[1] / "clusters" / "tls" / "localhost.pem")  # of tests only: signs itself


class Relay(socketserver.BaseRequestHandler):
    """Hands one connection on, once both sides have shown their certificates."""

    server: Front

    def handle(self) -> None:
        with socket.create_connection(self.server.behind) as inside:
            try:
                with self.server.context.wrap_socket(self.request, server_side=True) as outside:
                    answers = threading.Thread(target=self._copy, args=(inside, outside))
                    answers.start()
                    self._copy(outside, inside)
                    answers.join()
            except OSError:  # no certificate, or an end without good-bye
                self.server.refused += 1

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


class Front(socketserver.ThreadingTCPServer):
    """TLS before a cluster: nobody comes in without the grid's certificate."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.behind = (parts.hostname or "", parts.port or 80)
        self.refused = 0
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
        self.context.load_cert_chain(CERTIFICATE)
        self.context.verify_mode = ssl.CERT_REQUIRED
        super().__init__(("127.0.0.1", 0), Relay)


@pytest.fixture
def front(grid) -> Iterator[Front]:
    """The grid's cluster is behind this front."""
    with Front(grid.minioar.url) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with transaction(grid.engine) as session:
            record = clusters.by_name(session, "mini")
            record.api_url, record.api_auth_type = url, "cert"
        yield server
        server.shutdown()
        thread.join()


def test_a_campaign_on_a_cluster_that_asks_for_a_certificate(grid, front):
    """K3."""
    grid.settings = dataclasses.replace(
        grid.settings, rest_client_certificate_file=CERTIFICATE, rest_client_ca_file=CERTIFICATE
    )
    campaign = grid.campaign([str(number) for number in range(5)])
    grid.finish(campaign, 60)
    assert grid.state(campaign) is CampaignState.TERMINATED
    assert grid.tasks(campaign) == {"done": 5} and front.refused == 0
    grid.balanced()


def test_without_its_certificate_the_grid_is_not_let_in(grid, front):
    grid.settings = dataclasses.replace(grid.settings, rest_client_ca_file=CERTIFICATE)
    campaign = grid.campaign(["1"])
    grid.metascheduler.cycle()
    with pytest.raises(ConfigError, match="needs REST_CLIENT_CERTIFICATE_FILE"):
        grid.runner.cycle()
    grid.updater.cycle()  # one cluster that cannot be reached keeps nobody from the others
    grid.nikita.cycle()
    assert grid.tasks(campaign) == {"pending": 1} and grid.live() == []
