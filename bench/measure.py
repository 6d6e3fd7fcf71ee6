"""What a proxy costs: CPU and memory of all its processes, read from /proc, and what drives it.

CPU is the scheduler's own sum per thread (nanoseconds); utime and stime count in ticks of 10 ms.
"""
import json
import os
import signal
import socket
import subprocess
import time

PROXY_CPU, LOAD_CPU = 0, 1


class BenchError(Exception):
    pass


def tree(root):
    """The process and all its living descendants."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as f:
                    parents[int(entry)] = int(f.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += [child for child, parent in parents.items() if parent == pid]
    return sorted(found)


def cpu_ns(root):
    """({pid}, nanoseconds on a CPU of all threads of the tree)."""
    total, pids = 0, tree(root)
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return set(pids), total


def shared_object(pid, line):
    """(inode key, bytes the kernel holds) of a mapping that processes share for writing or that is an
    index file of the proxy; None for everything else (private memory, program text, libraries)."""
    fields = line.split(None, 5)
    if len(fields) < 6 or fields[4] == "0":
        return None
    name = fields[5].strip()
    if name.endswith("/devices.tab"):
        return None          # laid out whole at the start, so that a full disk is noticed then: only touched pages are memory
    library = fields[1][3] == "p" and (name.endswith(".so") or ".so." in name or "/bin/" in name
                                      or "/sbin/" in name or name.startswith("/usr/"))
    if library or (fields[1][3] == "p" and "w" in fields[1]):
        return None
    try:
        status = os.stat(f"/proc/{pid}/map_files/{fields[0]}")
    except OSError:
        return None
    if os.access(name, os.X_OK) and not name.startswith(("/dev/", "/memfd:")):
        return None                                          # program text
    return (status.st_dev, status.st_ino), status.st_blocks * 512


def memory(root):
    """User-space bytes: PSS of every process; a shared or index mapping counts once, with everything
    that the kernel holds of it, whether or not a process has touched the page."""
    total, shared = 0, {}
    for pid in tree(root):
        with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
            key = None
            for line in f:
                if "-" in line.split(" ", 1)[0]:
                    key = shared_object(pid, line)
                    if key:
                        shared[key[0]] = key[1]
                elif line.startswith("Pss:") and not key:
                    total += int(line.split()[1]) * 1024
    return total + sum(shared.values())


def settled_memory(root, quiet=0.5, longest=8.0):
    """memory() once it has stopped moving."""
    end, last = time.monotonic() + longest, memory(root)
    while time.monotonic() < end:
        time.sleep(quiet)
        now = memory(root)
        if abs(now - last) < 64 * 1024:
            return now
        last = now
    return last


def child_setup(cpu):
    def setup():
        os.sched_setaffinity(0, {cpu})
        import resource
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return setup


def start(command, cpu, **more):
    return subprocess.Popen(command, preexec_fn=child_setup(cpu), start_new_session=True, **more)


def stop(process, how=signal.SIGTERM, seconds=10):
    """Ends a process started here and everything it started; nothing else."""
    if process is None or process.poll() is not None:
        return
    try:
        process.send_signal(how)
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        for pid in tree(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()


class Origin:
    """The mail server and log sink, on the load's CPU. With an environment: the one that wants Kerberos."""

    def __init__(self, build, folder, kerberos=None):
        self.sink = os.path.join(folder, "kerberos-log.sock" if kerberos else "log.sock")
        self.process = start([os.path.join(build, "bench-origin"), "--sink", self.sink,
                              *(["--kerberos"] if kerberos else [])], LOAD_CPU,
                             stdout=subprocess.PIPE, env=dict(os.environ, **(kerberos or {})))
        line = self.process.stdout.readline()
        if not line:
            raise BenchError("bench-origin did not start")
        self.address = json.loads(line)["address"]

    def stats(self):
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port)), 5) as s:
            s.sendall(b"GET /bench/stats HTTP/1.1\r\nHost: origin\r\n\r\n")
            data = b""
            while not data.endswith(b"}\n"):
                more = s.recv(4096)
                if not more:
                    raise BenchError("bench-origin closed")
                data += more
        return json.loads(data.rpartition(b"\r\n")[2])

    def wait_held(self, count, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.stats()["held"] == count:
                return
            time.sleep(0.05)
        raise BenchError(f"{self.stats()['held']} held requests at the origin instead of {count}")

    def stop(self):
        stop(self.process)
        self.process.stdout.close()


class Load:
    """One run of the generator, held at its two gates by lines on its standard input."""

    def __init__(self, build, pki, address, mode, devices="devices", **options):
        command = [os.path.join(build, "bench-load"), mode, "--target", address, "--host", pki.host,
                   "--ca", pki.path("ca.pem"), "--devices", pki.path(devices)]
        for key, value in options.items():
            command += ["--" + key, str(value)]
        self.process = start(command, LOAD_CPU, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.expect("ready")

    def expect(self, event):
        line = self.process.stdout.readline()
        if not line:
            raise BenchError("bench-load ended early")
        told = json.loads(line)
        if told["event"] != event:
            raise BenchError(f"bench-load said {told} instead of {event}")
        return told

    def go(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:
                pass


def quiet_cpu(root):
    """cpu_ns() when the work is done: closing what the load closed belongs to the operations."""
    pids, last = cpu_ns(root)
    for _ in range(40):
        time.sleep(0.05)
        pids, now = cpu_ns(root)
        if now - last < 200_000:
            return pids, now
        last = now
    return pids, last


def cpu_per_operation(build, pki, proxy, mode, options, count=None):
    """(microseconds an operation, what the load said). count() gives a dict of counters: by how much they grew
    is told as "grown"."""
    with Load(build, pki, proxy.address, mode, **options) as load:
        first = count() if count else {}
        before_pids, before = quiet_cpu(proxy.pid)
        load.go()
        told = load.expect("done")
        after_pids, after = quiet_cpu(proxy.pid)
        told["grown"] = {name: value - first[name] for name, value in (count() if count else {}).items()}
        load.go()
        load.expect("closed")
        load.go()
        load.end()
    if before_pids != after_pids:
        raise BenchError(f"{proxy}: a process came or went while measured")
    return (after - before) / 1000 / told["ops"], told


def held_bytes(build, pki, proxy, origin, count):
    """Memory before, with `count` Pings held, and after they are all closed."""
    with Load(build, pki, proxy.address, "hold", ops=count, connections=64) as load:
        origin.wait_held(0)
        before = settled_memory(proxy.pid)
        load.go()
        told = load.expect("done")
        if told["failures"]:
            raise BenchError(f"{proxy}: {told}")
        origin.wait_held(count)
        held = settled_memory(proxy.pid)
        load.go()
        lost = load.expect("closed")["lost"]
        origin.wait_held(0)
        after = settled_memory(proxy.pid)
        load.go()
        load.end()
    if lost:
        raise BenchError(f"{proxy}: {lost} held Pings did not last")
    return before, held, after
