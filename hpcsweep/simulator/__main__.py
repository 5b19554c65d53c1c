"""`python -m hpcsweep.simulator`: start the simulated engine."""

import argparse
import json
import sys

from hpcsweep import __version__
from hpcsweep.errors import HpcsweepError
from hpcsweep.simulator.nodes import Place
from hpcsweep.simulator.profile import read_profile
from hpcsweep.simulator.server import ServerOptions, serve


def _variant(text: str) -> dict[str, str]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {exc}") from exc
    if not isinstance(value, dict) or not all(isinstance(level, str) for level in value.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object of strings")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def main() -> int:
    """Serve until SIGTERM. Return 1 when the profile is invalid or the port is in use, 2 for a usage error."""
    parser = argparse.ArgumentParser(
        prog="hpcsweep.simulator", description="A simulated vLLM server, configured by a profile."
    )
    parser.add_argument("--version", action="version", version=f"hpcsweep.simulator {__version__}")
    parser.add_argument("--model", required=True, help="name of the model, which is not loaded")
    parser.add_argument("--served-model-name", help="[default: --model]")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--uds", help="listen on this Unix socket instead of a port")
    parser.add_argument("--profile", required=True, help="YAML file with durations, speeds and faults")
    parser.add_argument("--time-scale", type=_positive, default=1.0, help="simulated seconds per real second")
    parser.add_argument("--variant", type=_variant, default={}, help='levels as JSON, such as {"ep": "on"}')
    parser.add_argument("--repeat", type=int, default=1, help="repeat of the run, a part of the jitter's seed")
    parser.add_argument("--max-model-len", type=int, default=131072, help="tokens")
    parser.add_argument("--max-num-seqs", type=int, help="[default: from the profile]")
    parser.add_argument("--max-num-batched-tokens", type=int, help="[default: from the profile]")
    parser.add_argument("--no-enable-prefix-caching", action="store_true")
    parser.add_argument("--nnodes", type=int, default=1, help="nodes of the server")
    parser.add_argument("--node-rank", type=int, default=0, help="0: with the front end")
    parser.add_argument("--master-addr", default="127.0.0.1", help="address of rank 0")
    parser.add_argument("--master-port", type=int, default=29501)
    options = parser.parse_args()
    try:
        behaviour = read_profile(options.profile).resolve(options.variant, options.repeat)
    except HpcsweepError as exc:
        print(f"Error: {exc}", file=sys.stderr)  # noqa: T201
        return 1
    return serve(
        ServerOptions(
            model=options.model,
            served_name=options.served_model_name or options.model,
            host=options.host,
            port=options.port,
            uds=options.uds,
            time_scale=options.time_scale,
            max_model_len=options.max_model_len,
            max_num_seqs=options.max_num_seqs,
            max_num_batched_tokens=options.max_num_batched_tokens,
            prefix_caching=not options.no_enable_prefix_caching,
            placement=Place(options.nnodes, options.node_rank, options.master_addr, options.master_port)
            if options.nnodes > 1
            else None,
        ),
        behaviour,
    )


if __name__ == "__main__":
    sys.exit(main())
