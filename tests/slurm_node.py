"""A Slurm cluster of one node for a test: munged, slurmctld and slurmd in a folder and on ports of their own."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")

# cred_expire: seconds until a task that was put into the queue again may start; File: cards that nobody opens.
CONF = """
ClusterName=segearth
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=65536 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""


def here():
    """Whether this machine can run one: Debian's slurm-wlm, as root."""
    return os.geteuid() == 0 and all(map(shutil.which, DAEMONS))


@contextmanager
def node(folder):
    """A cluster that is up, with two cards and two tasks of a card at once; the environment that finds it."""
    folder.mkdir()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    conf = CONF.format(host=socket.gethostname().split(".")[0], folder=folder, ports=_free_ports())
    (folder / "slurm.conf").write_text(conf)
    (folder / "gres.conf").write_text("Name=gpu File=/dev/tty[0-1]\n")
    env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    places = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    daemons = [
        ["munged", "--foreground", "--force", f"--key-file={folder}/key", "--num-threads=1", *places],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-c"],
    ]
    started = []
    try:
        for words in daemons:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen(words, env=env, start_new_session=True, **quiet))
            time.sleep(0.5)
        wait_for(lambda: asked(env, "sinfo", "--noheader", "--format", "%T") == "idle")
        yield env
    finally:
        subprocess.run(["scancel", "--user", "root"], env=env, check=False)
        for process in reversed(started):
            process.terminate()
            process.wait(20)


def asked(env, *words, **options):
    """What a command of Slurm answers."""
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False, **options).stdout.strip()


def state(env, job):
    """The state of a job or task that Slurm still knows, e.g. COMPLETED; of an array, those of its tasks."""
    told = asked(env, "scontrol", "--oneliner", "show", "job", job)
    return sorted({word.split("=")[1] for word in told.split() if word.startswith("JobState=")})


def wait_for(condition, seconds=200):
    """Returns when it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.3)


def _free_ports():
    with socket.socket() as one, socket.socket() as other:
        for s in (one, other):
            s.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
