#!/usr/bin/env python3
"""The layer over a socket, beside the same server without it, `from_fn`, Flask and nginx.

Starts all of them on loopback, pinned to one core, and drives one after another, in rounds, with wrk
on another core; about two and a half minutes. Prints a table and the bars. With `--quick` it drives
one round of a second each, for trying.

Wants Linux with two cores, cargo, wrk, nginx, and python3 with venv.
"""

import contextlib
import datetime
import json
import os
import pathlib
import re
import resource
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
WORK = HERE / "target" / "over_socket"
PINNED = ["Flask==3.1.3", "Werkzeug==3.1.9", "gunicorn==27.0.1"]
CONNECTIONS = 32
TICK = os.sysconf("SC_CLK_TCK")
KEY = secrets.token_hex(16)
ENVIRONMENT = os.environ | {"API_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "1"}
ANSWER = {"message": "Welcome! Here is your secret data.", "data": [10, 20, 30]}

PROTECTED, OPEN, FROM_FN = "axum, **ours**", "axum, open", "axum, `from_fn` with `==`"
FLASK, NGINX = "Flask under gunicorn", "nginx, a map of keys"


def main():
    quick = sys.argv[1:] == ["--quick"]
    if sys.argv[1:] and not quick:
        sys.exit(__doc__)
    for tool in ["cargo", "wrk", "nginx", "taskset", "setpriv"]:
        shutil.which(tool) or sys.exit(f"{tool} is missing")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are wanted: one for the servers, one for wrk")
    # So that `finally` runs, and the servers are stopped.
    for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
        signal.signal(number, lambda *_: sys.exit(1))

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Server(name, argv, cores[0])) for name, argv in commands()]
        for server in servers:
            server.check()
        for _ in range(1 if quick else 10):
            for server in servers:
                server.drive(1 if quick else 3, cores[1])
        print(page(servers), end="")


def commands():
    """What to start; `ADDRESS` stands for one that is free."""
    run(["cargo", "build", "--release", "--locked", "--bin", "server", "--target-dir", "target"], cwd=HERE)
    ours = str(HERE / "target" / "release" / "server")
    python = WORK / "venv" / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", WORK / "venv"])
    run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PINNED])
    # Its fastest here: its default worker closes each connection after one answer.
    gunicorn = [str(python), "-m", "gunicorn", "--bind", "ADDRESS", "--chdir", str(HERE / "socket")]
    gunicorn += ["--threads", "4", "--log-level", "warning", "--no-control-socket", "flask_app:app"]
    return [
        (PROTECTED, [ours, "protected", "ADDRESS"]),
        (OPEN, [ours, "open", "ADDRESS"]),
        (FROM_FN, [ours, "from_fn", "ADDRESS"]),
        (FLASK, gunicorn),
        (NGINX, ["nginx", "-p", str(WORK), "-e", "stderr", "-c", str(WORK / "nginx.conf")]),
    ]


class Server:
    """One that runs, and what was measured of it."""

    def __init__(self, name, argv, core):
        self.name, self.argv, self.core, self.runs = name, argv, core, []

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        if self.name == NGINX:
            write_nginx_conf(self.address)
        argv = [self.address if word == "ADDRESS" else word for word in self.argv]
        # It ends with this script, even if that is killed.
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(self.core), *argv]
        self.process = subprocess.Popen(pinned, env=ENVIRONMENT, start_new_session=True)
        return self

    def __exit__(self, *_):
        """Stops it and its children, which are of its process group."""
        for number in [signal.SIGTERM, signal.SIGKILL]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)

    def check(self):
        """It answers, it wants the key, and no other."""
        until = time.monotonic() + 20
        while True:
            try:
                status, body = self.get(KEY)
                break
            except OSError as error:
                if time.monotonic() > until or self.process.poll() is not None:
                    sys.exit(f"{self.name} does not answer: {error}")
                time.sleep(0.1)
        refused = 200 if self.name == OPEN else 401
        if (status, body) != (200, ANSWER):
            sys.exit(f"{self.name} answers {status} to the key")
        for key in [None, "0" * len(KEY)]:
            if self.get(key)[0] != refused:
                sys.exit(f"{self.name} answers {self.get(key)[0]} to {key or 'no key'}")

    def get(self, key):
        headers = {"x-api-key": key} if key else {}
        request = urllib.request.Request(f"http://{self.address}/secret-data", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def drive(self, seconds, core):
        wrk = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
        wrk += ["-s", str(HERE / "socket" / "wrk.lua"), f"http://{self.address}/secret-data"]
        server_before, wrk_before = self.cpu_seconds(), children_seconds()
        output = subprocess.run(wrk, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout
        requests, micros, p50, p99, failed = map(int, output.splitlines()[-1].split())
        if failed or not requests:
            sys.exit(f"{self.name}: {requests} requests, of which {failed} failed\n{output}")
        cpu, wall = self.cpu_seconds() - server_before, micros / 1e6
        self.runs.append({
            "a second": requests / wall, "p50": p50, "p99": p99, "cpu": cpu / requests * 1e6,
            "busy": cpu / wall, "wrk": (children_seconds() - wrk_before) / wall,
        })

    def of(self, figure):
        return [run[figure] for run in self.runs]

    def cpu_seconds(self):
        """Of it and its children, so far."""
        stats = [stat(pid) for pid in self.family()]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / TICK

    def peak_bytes(self):
        text = "".join(pathlib.Path(f"/proc/{pid}/status").read_text() for pid in self.family())
        return sum(int(kib) * 1024 for kib in re.findall(r"VmHWM:\s+(\d+) kB", text))

    def family(self):
        parents = {int(path.name): stat(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")}
        family = [self.process.pid]
        for parent in family:
            family += [pid for pid, fields in parents.items() if fields and int(fields[1]) == parent]
        return family


def stat(pid):
    """The fields of /proc/PID/stat from the third on; none of a process that is gone."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def children_seconds():
    """Of the children that have ended, which are the runs of wrk: servers go on."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_nginx_conf(address):
    conf = (HERE / "socket" / "nginx.conf").read_text()
    conf = conf.replace('"KEY"', f'"{KEY}"').replace("listen ADDRESS", f"listen {address}")
    path = WORK / "nginx.conf"
    path.touch(0o600)
    path.write_text(conf)


def run(argv, **options):
    subprocess.run(argv, check=True, **options)


def page(servers):
    by_name = {server.name: server for server in servers}
    lines = [
        "# Over a socket", "", origin(servers), "",
        "| server | requests/s | range | p50 | p99 | CPU a request | server busy | wrk busy | peak memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for server in servers:
        rate, median = server.of("a second"), lambda figure: statistics.median(server.of(figure))
        lines.append(
            f"| {server.name} | {median('a second'):,.0f} | {min(rate):,.0f}–{max(rate):,.0f} "
            f"| {median('p50') / 1000:.2f} ms | {median('p99') / 1000:.2f} ms | {median('cpu'):.1f} µs "
            f"| {median('busy'):.0%} | {median('wrk'):.0%} | {server.peak_bytes() / 2**20:.1f} MiB |"
        )
    lines += ["", "Ratios within a round, their median and range:", "",
              "| ours to | requests/s | CPU a request |", "|---|--:|--:|"]
    ours = by_name[PROTECTED]
    for other in servers[1:]:
        rate, cpu = (spread(ratios(ours, other, figure)) for figure in ["a second", "cpu"])
        lines.append(f"| {other.name} | {rate} | {cpu} |")
    limited = [s.name for s in servers if statistics.median(s.of("wrk")) > 0.95]
    if limited:
        lines += ["", f"wrk's own core was the limit for {'; '.join(limited)}: "
                  "these could answer more requests a second, and CPU time is what to compare."]
    idle = [s.name for s in servers if max(statistics.median(s.of(core)) for core in ["busy", "wrk"]) < 0.9]
    if idle:
        lines += ["", f"Other work had the machine: neither core was busy with {'; '.join(idle)}."]
    lines += ["", "## Bars", ""]
    for what, name, bar in [("of open", OPEN, 0.97), ("of Flask", FLASK, 20)]:
        found = ratios(ours, by_name[name], "a second")
        verdict = "met" if statistics.median(found) >= bar else "**missed**"
        lines.append(f"- {verdict}: requests a second, {what}: {spread(found)}, at least {bar}")
    return "\n".join(lines) + "\n"


def ratios(one, other, figure):
    return [mine / theirs for mine, theirs in zip(one.of(figure), other.of(figure))]


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def origin(servers):
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    version = lambda *argv: subprocess.run(argv, capture_output=True, text=True)
    nginx = version("nginx", "-v").stderr.strip().rpartition("/")[2]
    wrk = version("wrk", "-v").stdout.split(" [")[0]
    rustc = version("rustc", "--version").stdout.strip()
    return (
        f"{datetime.date.today()}, {len(servers[0].runs)} rounds; the servers on one core of "
        f"{cpu[1] if cpu else 'an unknown processor'}, {wrk} on another, "
        f"{CONNECTIONS} connections kept alive.\n"
        f"Linux {os.uname().release}, {rustc}, nginx {nginx}, Python {sys.version.split()[0]}, "
        f"{', '.join(PINNED).replace('==', ' ')}."
    )


if __name__ == "__main__":
    main()
