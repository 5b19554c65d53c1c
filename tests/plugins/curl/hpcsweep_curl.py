"""A load client plugin: `curl`, one request after the other, without streaming."""

import json

from hpcsweep.errors import DatasetError
from hpcsweep.load.drivers.outside import ClientResult, ClientSample, ClientWork, OutsideClient
from hpcsweep.load.prepare import max_tokens_of

LOOP = """\
for body in "$1"/*.body.json; do
    curl --silent --show-error --fail --header "Authorization: Bearer $OPENAI_API_KEY" --json @"$body" \\
        --write-out '%{stderr}%{time_total}\\n' --output "${body%.body.json}.answer.json" "$2" 2>>"$1/times" || exit 1
done
"""


class CurlClient(OutsideClient):
    """Measure the whole time of a request only. The base class runs the command and writes the records."""

    name = "curl"

    def command(self, work: ClientWork) -> list[str]:
        config, workload = work.config, work.config.planned.workload
        if workload.endpoint != "completions":
            raise DatasetError("client curl sends completions only", code="client_endpoint")
        for i, request in enumerate(work.requests):
            body = {
                "model": config.served_model,
                "prompt": request.prompt,
                "max_tokens": max_tokens_of(workload, request),
            }
            (work.folder / f"{i:06d}.body.json").write_text(json.dumps(body))
        return ["bash", "-c", LOOP, "bash", str(work.folder), config.base_url + config.completions_path]

    def read(self, work: ClientWork) -> ClientResult:
        times_s = [work.clock.scaled(float(line)) for line in (work.folder / "times").read_text().split()]
        samples: list[ClientSample] = []
        for i, e2e_s in enumerate(times_s):
            usage = json.loads((work.folder / f"{i:06d}.answer.json").read_bytes())["usage"]
            samples.append(
                {
                    "sent_s": work.clock.t_s() - sum(times_s[i:]),
                    "e2e_s": e2e_s,
                    "completion_tokens": usage["completion_tokens"],
                    "tokens_from": "usage",
                }
            )
        return ClientResult(samples, sum(times_s))
