"""The load sensors of all clusters, each read in a thread of its own: one that hangs keeps nobody."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection
from dataclasses import dataclass, field

from cigri.clusters import sensor
from cigri.clusters.sensor import SensorFailed


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of one try to read a sensor: a load, or why there is none."""

    sensor: str
    load: float | None
    fault: str = ""


@dataclass(slots=True)
class Sensors:
    """Begins to read, and collects later what was read. `verify`: as of a cluster's certificate."""

    verify: bool | str = True
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _under_way: dict[str, subprocess.Popen[bytes] | None] = field(default_factory=dict)
    _found: list[Reading] = field(default_factory=list)
    _closed: bool = False

    def begin(self, texts: Collection[str], seconds: float) -> None:
        """Read these sensors; each has so many seconds. One that is being read still has not answered."""
        with self._changed:
            new = [text for text in texts if text not in self._under_way]
            self._found += [Reading(text, None, "no answer") for text in texts if text in self._under_way]
            self._under_way |= dict.fromkeys(new)
        for text in new:
            threading.Thread(target=self._read, args=(text, seconds), daemon=True).start()

    def collect(self, patience: float = 0.0) -> list[Reading]:
        """What was read since the last call. Those that are under way are waited for so many seconds, no longer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, patience)
            found, self._found = self._found, []
        return found

    def close(self) -> None:
        """End the commands that run."""
        with self._changed:
            self._closed = True
            for process in self._under_way.values():
                if process is not None:
                    sensor.kill(process)

    def _read(self, text: str, seconds: float) -> None:
        try:
            reading = Reading(text, sensor.read(text, seconds, self.verify, lambda process: self._runs(text, process)))
        except SensorFailed as error:
            reading = Reading(text, None, str(error))
        with self._changed:
            del self._under_way[text]
            self._found.append(reading)
            self._changed.notify_all()

    def _runs(self, text: str, process: subprocess.Popen[bytes] | None) -> None:
        with self._changed:
            self._under_way[text] = process
            if process is not None and self._closed:
                sensor.kill(process)
