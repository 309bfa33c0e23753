"""Ray, started or joined in one way by every command, and quiet."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hsta import storage

# A node that goes silent would stall Ray Data for seven minutes under gRPC's defaults. Every process needs the same values.
KEEPALIVE = {"RAY_grpc_client_keepalive_time_ms": "30000", "RAY_grpc_client_keepalive_timeout_ms": "20000"}
# Read by Ray in the processes of this project; a user's own setting wins.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
# Of a cluster that only one command uses, and that nobody watches: what Ray measures and gathers of itself.
UNWATCHED = {"RAY_enable_metrics_collection": "0", "RAY_task_events_report_interval_ms": "0"}
FORWARDED = ("RAY_TRAIN_", "MLFLOW_", "WANDB_")
LEAVING_SECONDS = 0.5  # how often a process looks whether it has to go
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"  # of the cluster: `ray job stop` kills so long after SIGTERM; 3 s without it
_TERMINATED = b"hsta-terminated"
_TRAINING = b"hsta-training"


@contextmanager
def ray_session() -> Iterator[None]:
    """Join the cluster that ``RAY_ADDRESS`` names (``ray job submit`` sets it), else run a local one and end it afterwards.

    Inside another session it joins that one, so that commands can be run one after another in one.
    The local cluster listens with a token of its own, made anew for each session, and writes nothing outside its session folder.
    """
    ray_module = sys.modules.get("ray")
    if ray_module is not None and ray_module.is_initialized():
        yield
        return
    for name, value in {**KEEPALIVE, **QUIET}.items():
        os.environ.setdefault(name, value)
    joined = bool(os.environ.get("RAY_ADDRESS"))
    if not joined:
        # A local ray.init() turns token authentication on; a token in the environment keeps it from writing one to the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

    import ray

    os.environ.update(storage.environment())  # pyarrow and Ray see in it the store that the rest of the project sees
    variables = {
        name: value for name, value in os.environ.items() if name.startswith(FORWARDED)
    } | storage.environment()
    options = {
        "runtime_env": {"env_vars": {**variables, **KEEPALIVE}},
        "logging_level": logging.ERROR,
        "log_to_driver": False,
    }
    if joined:
        ray.init(**options)
    else:
        with _silent_standard_error(), _environment(UNWATCHED):
            ray.init(**options, include_dashboard=False, address="local")
        # Nobody is shown the workers' lines (log_to_driver); the process that gathers them would look for them all the same.
        ray._private.worker.global_worker.node.kill_log_monitor(check_alive=False)
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Some variables for processes that are started meanwhile; those that are set already stay as they are."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


@contextmanager
def _silent_standard_error() -> Iterator[None]:
    """Ray's C++ core says on file descriptor 2 that its log level was set; what goes wrong comes as an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


_leave_by: float | None = None  # in a driver that was told to stop: when it would be killed, on the monotonic clock


@contextmanager
def checkpoints_on_sigterm() -> Iterator[None]:
    """While this lasts, SIGTERM (``ray job stop``, a scheduler) has every fold write a checkpoint; then the driver ends, with
    status 143, see `leave_when_stored`. A second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    import ray
    from ray.experimental import internal_kv

    job = ray.get_runtime_context().get_job_id().encode()

    def leave(*_) -> None:
        global _leave_by
        if _leave_by is not None:
            raise SystemExit
        _leave_by = time.monotonic() + float(os.environ.get(STOP_WAIT, 3)) - 0.5
        print("told to stop: folds write their checkpoints; the same command goes on from there", file=sys.stderr)
        internal_kv._internal_kv_put(_TERMINATED + job, b"1")
        leave_when_stored()

    global _leave_by
    before = signal.signal(signal.SIGTERM, leave)  # after ray.init, which sets its own
    try:
        yield
    except SystemExit:  # one that is raised while Ray waits comes back as one of status 1
        if _leave_by is None:
            raise
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        _leave_by = None


def leave_when_stored() -> None:
    """A driver asks this after each step while its folds train; it must not wait for them, because a fold that reports waits
    for the driver. Raises SystemExit where the driver was told to stop, and every fold has stored its checkpoint or the
    driver would soon be killed."""
    if _leave_by is None:
        return
    import ray
    from ray.experimental import internal_kv

    job = ray.get_runtime_context().get_job_id().encode()
    if time.monotonic() > _leave_by or not internal_kv._internal_kv_list(_TRAINING + job):
        raise SystemExit


class Staying:
    """Says whether this process will soon have to go: it never will."""

    def __enter__(self) -> Staying:
        return self

    def __exit__(self, *_) -> None:
        pass

    def __call__(self) -> bool:
        return False

    def kept(self) -> None:
        """All that this process has is stored: nobody needs to wait for it."""


STAYING = Staying()


class Leaving(Staying):
    """Says True once when this process will soon have to go: its node is drained (a spot machine's notice, the shutdown of
    its pod), or the driver was told to stop. Cheap enough to be asked after every step.

    A driver that was told to stop waits for this process until the context ends, or until it says that it has `kept` what
    it has.
    """

    def __init__(self) -> None:
        import ray
        from ray.experimental import internal_kv

        context = ray.get_runtime_context()
        job = context.get_job_id().encode()
        self._kv, self._node, self._key = internal_kv, context.get_node_id(), _TERMINATED + job
        self._mark = _TRAINING + job + secrets.token_bytes(8)
        self._asked, self._told = time.monotonic(), False

    def __enter__(self) -> Leaving:
        self._kv._internal_kv_put(self._mark, b"1")
        return self

    def __exit__(self, *_) -> None:
        self.kept()

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._told or now - self._asked < LEAVING_SECONDS:
            return False
        self._asked = now
        from ray._private import state

        self._told = self._node in state.state.get_draining_nodes() or bool(self._kv._internal_kv_get(self._key))
        return self._told

    def kept(self) -> None:
        self._kv._internal_kv_del(self._mark)


def free_what_the_dead_hold() -> int:
    """Remove placement groups whose creator is dead. Returns how many.

    A Ray Train run whose process is killed leaves its group behind, and its CPUs and GPUs with it: for as long as the job
    lives, and where the run was just starting, for as long as the cluster does.
    """
    import ray
    from ray._private import state
    from ray._raylet import ActorID, PlacementGroupID
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData
    from ray.util.placement_group import PlacementGroup

    freed = 0
    for raw in state.state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(raw)
        by_actor = bool(group.creator_actor_id) and not ActorID(group.creator_actor_id).is_nil()
        orphan = group.creator_job_dead or (by_actor and group.creator_actor_dead)
        if orphan and not group.is_detached and group.state != PlacementGroupTableData.REMOVED:
            ray.util.remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
            freed += 1
    return freed


def cluster_cpus() -> int:
    """CPUs of the whole cluster, one at least."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
