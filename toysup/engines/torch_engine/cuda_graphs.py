"""A step that is taken again and again, on CUDA as one launch: its launches are recorded once as a CUDA graph.

A graph holds launches and addresses, and no Python: a replay reads and writes the same memory, and whatever Python
computed is as it was while the graph was recorded. So the step has to change tensors in place, to ask nothing of the
host, and to launch the same every time. <https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs>
"""

import warnings
from collections.abc import Callable, Iterator

import torch

# Libraries set themselves up when they are first called, which cannot be recorded; torch's examples take three calls.
CALLS_BEFORE_RECORDING = 3


def repeated(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`step`, and on CUDA what takes the same steps by replaying its graph, once that is recorded.

    Recording runs nothing and changes nothing, and the calls before it are steps like all others. Where it is refused,
    as for an activation that asks for a number on the host, a RuntimeWarning says so and `step` is called as it is.
    """
    if device.type != "cuda":
        return step
    calls = _calls(step, device)
    return lambda: next(calls)()


def _calls(step: Callable[[], None], device: torch.device) -> Iterator[Callable[[], None]]:
    """What is to be done for the first call, the second, and so on."""
    # Recording needs a stream of its own, and what libraries set up is for a stream.
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for _ in range(CALLS_BEFORE_RECORDING):
        yield lambda: _on(stream, step)
    taken = _replay(stream, step)
    while True:
        yield taken


def _on(stream: torch.cuda.Stream, step: Callable[[], None]) -> None:
    usual = torch.cuda.current_stream(stream.device)
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        step()
    usual.wait_stream(stream)


def _replay(stream: torch.cuda.Stream, step: Callable[[], None]) -> Callable[[], None]:
    """Record the step; what replays it, or the step itself where that is refused."""
    graph = torch.cuda.CUDAGraph()
    try:
        # Where recording fails, `torch.cuda.graph` leaves its stream the current one, so a context around it ends that.
        with torch.cuda.stream(stream), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            step()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        warnings.warn(f"steps are not recorded, which makes them slower: {reason}", RuntimeWarning, stacklevel=2)
        return step
    return graph.replay
