"""How many cores are kept busy by processes that are not measured: whether a time can be believed."""
import os
import pathlib
import time

TICKS = os.sysconf("SC_CLK_TCK")


def seconds_of(process):
    """Of processor time, of all threads of a process so far."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def foreign_seconds(processes):
    """Processor seconds that the machine has spent on anything but these processes and this one."""
    fields = [int(f) for f in open("/proc/stat").readline().split()[1:9]]
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = fields
    own = os.times()
    return (user + nice + system + interrupts + soft_interrupts + stolen) / TICKS - own.user - own.system - sum(map(seconds_of, processes))


class Busy:
    """From its making on: `cores()` that others have kept busy on average."""

    def __init__(self, processes):
        self.processes, self.foreign, self.start = processes, foreign_seconds(processes), time.perf_counter()

    def cores(self):
        return max(0.0, (foreign_seconds(self.processes) - self.foreign) / (time.perf_counter() - self.start))
