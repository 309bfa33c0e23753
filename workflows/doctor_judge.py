"""What the facts of `workflows.doctor_facts` mean for a configuration: findings, each with its cure. No Ray, no input or
output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from workflows.config import Folds, Prepare
from workflows.doctor_facts import Machine, StoreFacts
from workflows.preflight import STORE_SHARE, fits

OK, WARNING, WRONG = "ok", "warning", "wrong"
DISK_WRONG, DISK_SCARCE = 500e6, 5e9  # bytes free
DISK_FULL = 0.95  # share of a disk in use at which Ray stores no more objects on it
SKEW, SKEW_WRONG = 5.0, 300.0  # seconds; S3 refuses requests from 900 on
SLOW_SECONDS, SLOW_MB = 1.0, 5.0  # latency and MB/s of a store that is slow

ONE_IMAGE = "give the head, all workers and the driver one image, or one environment from constraints.txt"
NEW_KEYS = "then start the doctor, or the job, again from a shell or with a Secret that has the new ones"
# What S3's error codes, errnos and the clients' exceptions mean, and the cure, by the code (`doctor_facts.StoreFacts`).
STORE: dict[str, tuple[str, str]] = {}
for codes, meaning, remedy in (
    (
        "ExpiredToken ExpiredTokenException TokenRefreshRequired RequestExpired",
        "the credentials have expired",
        f"get new ones (aws sso login, or your lab's way; AWS_SESSION_TOKEN belongs to them), {NEW_KEYS}",
    ),
    (
        "InvalidAccessKeyId InvalidToken InvalidClientTokenId UnrecognizedClientException 400",
        "the store does not know these credentials: they expired, were deleted, or belong to another store",
        "check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN (unset it where there is none) and the endpoint "
        f"(AWS_ENDPOINT_URL_S3), {NEW_KEYS}",
    ),
    ("SignatureDoesNotMatch", "the secret key is wrong", f"check AWS_SECRET_ACCESS_KEY, {NEW_KEYS}"),
    (
        "NoCredentialsError PartialCredentialsError ProfileNotFound CredentialRetrievalError",
        "there are no credentials",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the nodes a role",
    ),
    (
        "AccessDenied AllAccessDisabled UserSuspended AccountProblem 403 Forbidden",
        "these credentials do not allow it",
        "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on this bucket and prefix; with "
        "AWS_SESSION_TOKEN, get new credentials: Ceph says this of expired ones",
    ),
    ("NoSuchBucket", "there is no such bucket", "make it, or check its name and the endpoint (AWS_ENDPOINT_URL_S3)"),
    (
        "NoSuchKey ENOENT FileNotFoundError",
        "it is not there",
        "check the path; workflows.inspect writes manifests, workflows.prepare prepared sets",
    ),
    (
        "PermanentRedirect Redirect AuthorizationHeaderMalformed IllegalLocationConstraintException 301 307",
        "the bucket is in another region",
        "set AWS_DEFAULT_REGION to the bucket's region",
    ),
    (
        "RequestTimeTooSkewed",
        "this machine's clock is more than 15 minutes off, so the store refuses it",
        "set the clock by NTP (chronyc makestep, or timedatectl set-ntp true) on this machine",
    ),
    (
        "EndpointConnectionError ConnectTimeoutError ReadTimeoutError ConnectionClosedError ClientConnectorError "
        "ClientConnectorDNSError FSTimeoutError TimeoutError ECONNREFUSED ETIMEDOUT EHOSTUNREACH Timeout",
        "nothing answers at the endpoint",
        "check the endpoint (AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, with http:// or https:// and the port), the name "
        "server and the firewall between this machine and the store",
    ),
    (
        "SSLError",
        "the endpoint does not speak TLS, or its certificate is not trusted",
        "check http:// or https:// in AWS_ENDPOINT_URL_S3; set AWS_CA_BUNDLE to the file of your lab's authority",
    ),
    (
        "ValueError InvalidURL",
        "the URL or the endpoint is not one",
        "AWS_ENDPOINT_URL_S3 begins with http:// or https://, a bucket with s3://",
    ),
    (
        "404 405 501 MethodNotAllowed NotImplemented ClientError ResponseParserError HTTPClientError",
        "what answers at the endpoint is no S3 store, or another part of one",
        "check the endpoint's port and path: the S3 API, not the console, of the store",
    ),
    ("503 SlowDown ServiceUnavailable 500 InternalError", "the store refuses its service", "wait, or ask its operator"),
    (
        "EACCES EPERM PermissionError",
        "this user may not do it",
        "grant the user that runs Ray write access to the folder, or choose another",
    ),
    ("EROFS", "the disk is mounted read-only", "mount it for writing, or choose another folder"),
    ("ENOSPC EDQUOT", "the disk is full", "delete what is not needed there, or choose a folder on another disk"),
    ("ENOTDIR EEXIST EISDIR NotADirectoryError", "a file is where a folder must be", "choose another folder"),
    ("EIO ESTALE ENOTCONN", "the disk or the network mount fails", "mount it anew, and see the kernel's log (dmesg)"),
):
    STORE |= {code: (meaning, remedy) for code in codes.split()}
NOT_SHARED = (
    "it does not see the file that the driver wrote there: every machine has a folder of its own by this name",
    "use an object store (s3://...) or a folder that all machines mount, such as NFS",
)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: level, what was checked, what was found, and the cure where there is need of one."""

    level: str
    check: str
    found: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.level:<8} {self.check}: {self.found}" + (f"\n  cure: {self.cure}" if self.cure else "")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the cluster: what Ray says it has, and what a task on it found; ``problem`` where none could run.

    ``skew``: seconds by which its clock is ahead of the driver's.
    """

    name: str
    resources: Mapping[str, float]
    machine: Machine | None = None
    problem: str = ""
    skew: float = 0.0

    def has(self, resource: str) -> float:
        """How much of a resource Ray has on this node."""
        return self.resources.get(resource, 0.0)


Group = tuple[Mapping[str, float], float]  # resources of a node that the autoscaler may start, and how many at most


def judge_answers(nodes: Sequence[Node]) -> Iterator[Finding]:
    """Whether a task could run on every node."""
    for node in nodes:
        if node.machine is None:
            yield Finding(
                WRONG,
                "nodes",
                f"{node.name} could not run a task: {node.problem}",
                "submit with --working-dir . from the project's folder, or put the project in the image; see the raylet's "
                "log on that node; if it hangs, take the node out of the cluster",
            )
    if all(node.machine for node in nodes):
        yield Finding(OK, "nodes", f"{len(nodes)} of {len(nodes)} ran a task: {', '.join(node.name for node in nodes)}")


def judge_versions(driver: Machine, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Python, packages and the project's code of every node against the driver's."""
    wanted = _versions(driver)
    differ = False
    for node in nodes:
        found = _versions(node.machine) if node.machine else wanted
        changed = [
            f"{name} is {found.get(name, 'not installed')} there, {wanted.get(name, 'not installed')} at the driver"
            for name in {**wanted, **found}
            if wanted.get(name) != found.get(name)
        ]
        if changed:
            differ = True
            code_only = len(changed) == 1 and changed[0].startswith("the project's code")
            cure = "submit with --working-dir . so that all run the same code, or build the image anew"
            yield Finding(WRONG, "versions", f"{node.name}: {'; '.join(changed)}", cure if code_only else ONE_IMAGE)
    if not differ:
        shown = [
            f"{name} {wanted[name]}" for name in ("Python", "ray", "torch", "the project's code") if name in wanted
        ]
        yield Finding(OK, "versions", f"{', '.join(shown)} everywhere")


def judge_gpus(nodes: Sequence[Node], groups: Sequence[Group], folds: Folds) -> Iterator[Finding]:
    """GPUs against folds.gpus, and whether torch can use them."""
    have = sum(node.has("GPU") for node in nodes)
    later = sum(count * resources.get("GPU", 0) for resources, count in groups if resources.get("GPU"))
    for node in nodes:
        if node.machine and node.has("GPU") and node.machine.cuda:
            yield Finding(
                WRONG,
                "gpus",
                f"torch cannot use the GPU of {node.name}: {node.machine.cuda}",
                "install a driver that is new enough for this torch's CUDA, run containers with --gpus all (the NVIDIA "
                "runtime), and do not install the CPU build of torch there",
            )
        elif node.machine and node.machine.nvidia and not node.has("GPU"):
            yield Finding(
                WARNING,
                "gpus",
                f"{node.name} has NVIDIA's driver, but gives Ray no GPU",
                "start Ray there with --num-gpus, or ask for nvidia.com/gpu in the pod's resources",
            )
    if folds.gpus and not have and not later:
        yield Finding(
            WRONG,
            "gpus",
            f"folds.gpus is {folds.gpus:g}, the cluster has no GPU",
            "join GPU nodes to the cluster, or train on CPUs with --set folds.gpus=0",
        )
    elif have and not folds.gpus:
        cure = "--set folds.gpus=1, or a share of one, such as 0.25"
        yield Finding(WARNING, "gpus", f"the cluster has {have:g} GPU, folds.gpus is 0: none is used", cure)
    elif have or folds.gpus:
        waits = "" if have else f", the autoscaler may start up to {later:g}"
        yield Finding(OK, "gpus", f"folds.gpus is {folds.gpus:g}, the cluster has {have:g} GPU{waits}")


def judge_prepare(nodes: Sequence[Node], groups: Sequence[Group], prepare: Prepare) -> Iterator[Finding]:
    """Whether the actors of `workflows.prepare` can be placed."""
    memory = prepare.memory_mb << 20

    def fits(resources: Mapping[str, float]) -> int:
        return int(min(resources.get("CPU", 0), resources.get("memory", 0) // memory))

    have, later = _room(nodes, groups, fits)
    each = f"1 CPU and {prepare.memory_mb} MB each"
    wanted = prepare.actors or int(sum(node.has("CPU") for node in nodes))
    cure = "lower prepare.actors or prepare.memory_mb, or add nodes with more CPUs and memory"
    if not max(have, later):
        yield Finding(WRONG, "prepare", f"no actor fits on any node ({each}): none would ever start", cure)
    elif not wanted:
        found = "prepare.actors is 0, which counts the CPUs that are there at the start: none"
        yield Finding(
            WARNING, "prepare", found, f"--set prepare.actors={later:g} for all that the autoscaler may start"
        )
    elif max(have, later) < wanted:
        found = f"{max(have, later):g} of {wanted} actors fit ({each}); the others would wait for ever"
        yield Finding(WARNING, "prepare", found, f"{cure}; or --set prepare.actors={max(have, later):g}")
    else:
        waits = "" if have >= wanted else f", {wanted - have:g} of them once the autoscaler has started nodes"
        yield Finding(OK, "prepare", f"{wanted} of {wanted} actors fit, {each}{waits}")


def judge_folds(nodes: Sequence[Node], groups: Sequence[Group], folds: Folds) -> Iterator[Finding]:
    """Whether a fold can be placed: each of its workers must fit on one node."""
    if folds.gpus and not any(
        resources.get("GPU") for resources in [*(node.resources for node in nodes), *(group for group, _ in groups)]
    ):
        return  # said by `judge_gpus`
    each = f"{folds.workers} x ({folds.cpus} CPU and {folds.gpus:g} GPU) each"

    def workers(resources: Mapping[str, float]) -> int:
        return fits(folds, resources, reading=folds.data == "stream")

    have, later = (count // folds.workers for count in _room(nodes, groups, workers))
    if not max(have, later):
        largest = max(((node.has("CPU"), node.has("GPU")) for node in nodes), default=(0, 0))
        yield Finding(
            WRONG,
            "folds",
            f"not one fold fits: {each}; the largest node has {largest[0]:g} CPU and {largest[1]:g} GPU",
            "lower folds.workers, folds.cpus or folds.gpus, or add nodes, each as large as a worker at least",
        )
    elif not have and not folds.concurrent:
        found = "folds.concurrent is 0, which counts what fits the cluster as it is at the start: nothing"
        yield Finding(
            WARNING, "folds", found, f"--set folds.concurrent={later:g} for all that the autoscaler may start"
        )
    else:
        yield Finding(OK, "folds", f"{max(have, later):g} at a time fit, {each}")


def judge_memory(nodes: Sequence[Node], set_bytes: int, data: str = "auto") -> Iterator[Finding]:
    """/dev/shm against Ray's object store, and the object store against the prepared set (bytes, 0 where there is none),
    by folds.data."""
    well = True
    for node in nodes:
        store = node.has("object_store_memory")
        if node.machine and node.machine.shm < store:
            well = False
            yield Finding(
                WRONG,
                "/dev/shm",
                f"{node.name} has {_gb(node.machine.shm)}, Ray's object store there is {_gb(store)}: objects go to the disk",
                f"docker run --shm-size={math.ceil(store / 1e9) + 1}g, in Kubernetes an emptyDir of medium Memory on /dev/shm, "
                "or a smaller ray start --object-store-memory",
            )
    if well:
        yield Finding(OK, "/dev/shm", "holds the object store on every node")
    least = min(
        (node for node in nodes if node.has("CPU")), key=lambda node: node.has("object_store_memory"), default=None
    )
    if least is None or not set_bytes:
        return
    room = least.has("object_store_memory")
    found = f"the set takes {_gb(set_bytes)} in memory, the object store of {least.name} has {_gb(room)}"
    if set_bytes > STORE_SHARE * room and data != "stream":
        cure = "nodes with more memory, a larger ray start --object-store-memory, or a smaller model.image_size"
        if data == "memory":
            cure = f"--set folds.data=auto, or {cure}"
        found += f", of which {STORE_SHARE:.0%} may be used"
        rest = (
            "" if data == "memory" else ": folds will read the clips in every epoch, with one CPU more for each worker"
        )
        yield Finding(WRONG if data == "memory" else WARNING, "objects", found + rest, cure)
    else:
        yield Finding(OK, "objects", found)


def judge_disks(machines: Mapping[str, Machine], session: str) -> Iterator[Finding]:
    """Free disk of the temporary folder and Ray's session folder, by machine."""
    least, bad = (math.inf, ""), False
    for name, machine in machines.items():
        for folder, (free, total) in machine.disks.items():
            full = folder == session and free < (1 - DISK_FULL) * total
            least = min(least, (free, f"{name}, {folder}"))
            if full or free < DISK_SCARCE:
                bad = True
                level = WRONG if full or free < DISK_WRONG else WARNING
                more = "; Ray stores no more objects on a disk that is 95% full" if full else ""
                yield Finding(
                    level,
                    "disk",
                    f"{name}: {_gb(free)} of {_gb(total)} free in {folder}{more}",
                    "delete old sessions (/tmp/ray/session_*) and files there, set TMPDIR or ray start --temp-dir to a "
                    "larger disk, or give the pod a larger ephemeral volume",
                )
    if not bad and least[1]:
        yield Finding(OK, "disk", f"{_gb(least[0])} free where it is least ({least[1]})")


def judge_store(url: str, found: Mapping[str, StoreFacts]) -> Iterator[Finding]:
    """One place of the configuration, as each machine found it; equal faults are said once."""
    faults: dict[tuple[str, str], list[str]] = {}
    for name, facts in found.items():
        if facts.step:
            faults.setdefault((facts.step, facts.code), []).append(name)
    check = f"storage {url}"
    for (step, code), names in faults.items():
        if step == "share" and code in ("ENOENT", "FileNotFoundError", "NoSuchKey"):
            meaning, cure = NOT_SHARED
        else:
            default = ("it fails", "check the URL, the endpoint and the credentials with another client")
            meaning, cure = STORE.get(code, default)
            said = ": ".join(part for part in (code, found[names[0]].said) if part)
            meaning = f"cannot {'read' if step == 'share' else step}: {meaning} ({said})"
        yield Finding(WRONG, check, f"{', '.join(names)}: {meaning}", cure)
    well = {name: facts for name, facts in found.items() if not facts.step}
    if faults or not well:
        return
    slowest = max(well, key=lambda name: well[name].latency)
    shown = f"from {', '.join(well)}: {1000 * well[slowest].latency:.0f} ms"
    rates = [rate for facts in well.values() for rate in (facts.up, facts.down) if rate]
    if rates:
        up, down = (min(getattr(facts, way) for facts in well.values()) for way in ("up", "down"))
        shown = f"written, read, listed and deleted {shown}, {up:.0f} MB/s up, {down:.0f} MB/s down at least"
    else:
        shown = f"read {shown}"
    if well[slowest].latency > SLOW_SECONDS or min(rates, default=math.inf) < SLOW_MB:
        cure = "use a store in the same region or building, and look at the network between"
        yield Finding(WARNING, check, f"slow: {shown}", cure)
    else:
        yield Finding(OK, check, shown)


def judge_clocks(nodes: Sequence[Node], stores: Mapping[str, Sequence[StoreFacts]]) -> Iterator[Finding]:
    """The nodes' clocks against the driver's, and every machine's against the stores'."""
    skews = {node.name: (abs(node.skew), f"{_ahead(node.skew)} the driver's") for node in nodes}
    for name, found in stores.items():
        for facts in found:
            if facts.skew is not None:
                skews[name] = max(
                    skews.get(name, (0.0, "")), (abs(facts.skew), f"{_ahead(facts.skew)} that of {facts.url}")
                )
    off = {name: (skew, text) for name, (skew, text) in skews.items() if skew > SKEW}
    for name, (skew, text) in off.items():
        yield Finding(
            WRONG if skew > SKEW_WRONG else WARNING,
            "clocks",
            f"the clock of {name} is {text}; S3 refuses requests from 15 minutes on, tokens may earlier",
            "set the clock by NTP (chronyc makestep, or timedatectl set-ntp true) on the machine that is off",
        )
    if skews and not off:
        yield Finding(OK, "clocks", f"{max(skews.values())[0]:.1f} s apart at most")


def _versions(machine: Machine) -> dict[str, str]:
    return {"Python": machine.python, **machine.packages, "the project's code": machine.code}


def _room(nodes: Sequence[Node], groups: Sequence[Group], fits) -> tuple[float, float]:
    """How many fit on the nodes that are there, and on all that the autoscaler may start."""
    later = sum(count * fits(resources) for resources, count in groups if fits(resources))
    return sum(fits(node.resources) for node in nodes), later


def _ahead(skew: float) -> str:
    return f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
