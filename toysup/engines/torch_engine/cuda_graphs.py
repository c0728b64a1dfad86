"""A training step as a CUDA graph: its launches are recorded once, and then replayed as one launch.

A graph holds launches and addresses, but no Python. A replay reads and writes the same memory, and values that Python
computed keep what they were during recording. So a step has to change tensors in place, to read nothing back to the
host, and to launch the same operations every time.
<https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs>
"""

import warnings
from collections.abc import Callable, Iterator

import torch

# Libraries initialise at their first call, which cannot be recorded. torch's examples make three calls before.
CALLS_BEFORE_RECORDING = 3


def repeated(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A function that does the same as `step`; on CUDA it replays the graph of `step` once that is recorded.

    Recording runs nothing and changes nothing, and the calls before it are ordinary steps. If recording is refused, for
    example because an activation reads a number on the host, a RuntimeWarning says so and `step` is called directly.
    """
    if device.type != "cuda":
        return step
    calls = _calls(step, device)
    return lambda: next(calls)()


def _calls(step: Callable[[], None], device: torch.device) -> Iterator[Callable[[], None]]:
    """The function of the first call, of the second call, and so on."""
    # Recording needs its own stream, and libraries initialise for each stream.
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
    """Record the step. Returns the function that replays it, or the step itself if recording is refused."""
    graph = torch.cuda.CUDAGraph()
    try:
        # If recording fails, `torch.cuda.graph` leaves its stream current. The context around it restores the former.
        with torch.cuda.stream(stream), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            step()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        warnings.warn(f"steps are not recorded, which makes them slower: {reason}", RuntimeWarning, stacklevel=2)
        return step
    return graph.replay
