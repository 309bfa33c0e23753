"""One clip prepared in a process of its own, so that a native crash (a decoder's, the kernel's for want of memory)
costs that clip only."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection

from hsta.records import Clip, PreparedClip, RejectedClip
from hsta.vision.recipe import PrepareRecipe

TRIES = 2


def prepare_apart(clip: Clip, recipe: PrepareRecipe) -> PreparedClip | RejectedClip:
    """As `hsta.vision.clip.prepare_clip`; a clip that ends its process `TRIES` times is rejected as ``crashed``.

    Raises:
        Exception: what `prepare_clip` raises for reasons that are not the clip's.
    """
    context = multiprocessing.get_context("spawn")
    for _ in range(TRIES):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_prepare_and_send, args=(clip, recipe, sending), daemon=True)
        process.start()
        sending.close()
        try:
            result = receiving.recv()
        except EOFError:
            result = None
        finally:
            receiving.close()
            process.join()
        if isinstance(result, Exception):
            raise result
        if result is not None:
            return result
    return RejectedClip(
        clip=clip, reason="crashed", detail=f"preparing it ended its process with {_ending(process.exitcode)}"
    )


def _prepare_and_send(clip: Clip, recipe: PrepareRecipe, sending: Connection) -> None:
    import cv2

    from hsta.vision.clip import prepare_clip
    from hsta.vision.faces import FaceFinder

    cv2.setNumThreads(1)
    try:
        result = prepare_clip(clip, recipe, FaceFinder())
    except Exception as error:
        result = error
    sending.send(result)
    sending.close()


def _ending(exit_code: int | None) -> str:
    return (
        f"signal {signal.Signals(-exit_code).name}"
        if exit_code is not None and exit_code < 0
        else f"exit status {exit_code}"
    )
