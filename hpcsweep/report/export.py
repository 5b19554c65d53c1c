"""Export of a variant for production: a command, a batch script, or YAML."""

from dataclasses import dataclass, replace
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from hpcsweep import __version__
from hpcsweep.analysis.decision.commands import (
    HEAD_ADDRESS,
    INTERFACE,
    NODE_ADDRESS,
    PartCommand,
    ServeCommand,
    from_variable,
    shell_text,
)
from hpcsweep.analysis.findings import Findings, Variant
from hpcsweep.errors import ReportError, nearest
from hpcsweep.launchers.base import NodeSlot
from hpcsweep.launchers.registry import choose_launcher
from hpcsweep.render.environment import make_environment, render
from hpcsweep.report import wording
from hpcsweep.report.serving import MeasuredContainer, Start, files_text, start_of
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import ArrayTask, JobSpec, Resources
from hpcsweep.spec.secret_values import is_secret

KINDS = ("command", "slurm", "pbs", "yaml")


@dataclass(frozen=True)
class Service:
    """A variant to be served. `resources`, `cluster`: those of its measurement.

    `container`: in which it was measured; None: in none. `env_from`: variables that it got from the job's environment.
    """

    findings: Findings
    variant: Variant
    command: ServeCommand
    resources: Resources
    cluster: Cluster
    container: MeasuredContainer | None = None
    env_from: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """Remarks for the head of the exported text, one per line."""
        sweep, advice = self.findings.sweep, self.findings.recommendation
        lines = [f"{self.variant.short_name} of {sweep.sweep}: {self.variant.name}"]
        if self.variant.variant == advice.chosen:
            lines.append(f"recommended for: {advice.objective}")
            lines += advice.why
        if self.container is not None:
            lines.append(f"measured in a container ({self.container.name})")
            if self.container.launch is None:
                lines.append("the start of the container was not recorded: run this command in its image")
        secrets = self.command.secrets
        if secrets and self.variant.variant != advice.chosen:
            lines.append(
                f"set {', '.join(secrets)} in the environment; the value used in the measurement is not exported"
            )
        if self.variant.simulated:
            lines.append(f"{wording.SIMULATED}: the figures of this variant come from the simulated engine")
        return lines

    @property
    def argv(self) -> tuple[str, ...]:
        """The command with the executable that the profile names for this engine."""
        return self._named(self.command.argv)

    def _named(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        named = self.cluster.executables.get(self.variant.engine)
        return (named, *argv[1:]) if named else argv

    def starts(self) -> list[Start]:
        """Return what starts the server, one item for each of its nodes."""
        command = self.command
        return [
            start_of(
                PartCommand(self._named(part.argv), part.env),
                command.files,
                self.container.launch if self.container is not None else None,
                secrets=(*command.secrets, *self.env_from),
                job_env=self.cluster.job_environment,
                cpus=self.resources.cpus,
                name=f"serve {self.findings.sweep.sweep} {self.variant.short_name} {rank}",
            )
            for rank, part in enumerate(command.parts or (PartCommand(command.argv, command.env),))
        ]


def find_variant(findings: Findings, name: str) -> Variant:
    """Return the recommended variant for `best`, else the one with this short name, label or id. Raises ReportError."""
    advice = findings.recommendation
    if name == "best":
        if advice.chosen is None:
            raise ReportError(
                f"{findings.sweep.sweep}: {'; '.join(advice.why)}",
                code="no_recommendation",
                hint="name a variant, such as E01",
            )
        return findings.variant(advice.chosen)
    for variant in findings.variants:
        if name in (variant.short_name, variant.label, variant.variant):
            return variant
    raise ReportError(
        f"{findings.sweep.sweep} has no variant {name!r}", code="unknown_variant", hint=nearest(name, _names(findings))
    )


def _names(findings: Findings) -> list[str]:
    return ["best", *(variant.short_name for variant in findings.variants)]


def export_text(service: Service, kind: str, *, walltime_s: float | None = None) -> str:
    """Return the text of one of `KINDS`. `walltime_s` None: the walltime of the measurement.

    Raises ReportError without a command, and SpecError for a value that does not fit a directive line.
    """
    if service.command.trouble:
        raise ReportError(f"{service.variant.short_name}: {service.command.trouble}", code="no_serve_command")
    if kind == "yaml":
        return _yaml(service)
    if kind == "command":
        head = "".join(f"# {_one_line(line)}\n" for line in service.remarks)
        starts = service.starts()
        if len(starts) == 1:
            return head + starts[0].command()
        return (
            head
            + _node_comment(len(starts))
            + "".join(f"\n# node {rank}:\n{start.command()}" for rank, start in enumerate(starts))
        )
    return _script(service, kind, walltime_s)


def _node_comment(nodes: int) -> str:
    return (
        f"# Runs on {nodes} nodes: `--to slurm` or `--to pbs` writes a script that starts all parts. To start them\n"
        f"# yourself, set {HEAD_ADDRESS} to the address of node 0, and on each node {NODE_ADDRESS} to its own\n"
        f"# address and {INTERFACE} to the network interface that has it.\n"
    )


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _script(service: Service, scheduler: str, walltime_s: float | None) -> str:
    name = f"serve-{service.variant.short_name}"
    resources = service.resources.model_copy(update={"walltime_s": walltime_s or service.resources.walltime_s})
    cluster = service.cluster
    if cluster.scheduler != scheduler:  # its partition or queue, account and place mean nothing to another scheduler
        own = ("setup", "engine_setup", "env", "engines", "container", "proxy", "node_scratch")
        cluster = Cluster(**{key: getattr(cluster, key) for key in own})
    env = {name: value for name, value in cluster.env.items() if not is_secret(name)}
    # A server has nothing to write down before the time limit, and USR1 would kill it.
    cluster = cluster.model_copy(update={"signal_margin": 0, "scheduler": scheduler, "env": env})
    job = JobSpec(
        sweep=service.findings.sweep.sweep,
        job=0,
        sweep_dir="",
        name=name,
        scheduler=scheduler,
        resources=resources,
        array_tasks=[ArrayTask(index=0, runs=[])],
        cache_dir="",
    )
    environment = make_environment()
    values = {
        "scheduler": scheduler,
        "job": job,
        "cluster": cluster,
        "job_dir": name,
        "log_dir": "",
        "array": False,
        "parallel": None,
        "python": "",
        "version": __version__,
        "file": f"{name}.sh",
        "remarks": service.remarks,
    }
    starts = replace(service, cluster=cluster).starts()
    if len(starts) == 1:
        return render(
            environment, "serve.sh.j2", base=f"{scheduler}.sh.j2", start=starts[0].replacing(), others=[], **values
        )
    bodies = [start.replacing() for start in starts]
    node = render(environment, "serve_node.sh.j2", base="_job.sh.j2", bodies=bodies, **values)
    launcher = choose_launcher(cluster.launcher, scheduler, lambda command: True)
    started = ("bash", from_variable("NODE_SCRIPT"))
    others = [
        shell_text(
            launcher.argv((*started, str(rank), from_variable(HEAD_ADDRESS)), NodeSlot(from_variable("NODE"), rank)),
            launcher.environment({}),
        )
        for rank in range(1, len(starts))
    ]
    script = files_text({from_variable("NODE_SCRIPT"): node})
    return render(environment, "serve.sh.j2", base=f"{scheduler}.sh.j2", start=script, others=others, **values)


def _yaml(service: Service) -> str:
    findings, variant = service.findings, service.variant
    results = [result for result in findings.results if result.variant == variant.variant and result.left_out is None]
    figures = {
        result.workload: {
            metric: _figure(figure)
            for metric, by_condition in result.means.items()
            for figure in by_condition.values()
            if figure.condition == ("warm" if "warm" in by_condition else "all")
        }
        for result in results
    }
    document = {
        "sweep": findings.sweep.sweep,
        "variant": variant.variant,
        "axes": {axis: DoubleQuotedScalarString(level) for axis, level in variant.axes.items()},
        "simulated": variant.simulated,
        "recommended_for": findings.recommendation.objective
        if variant.variant == findings.recommendation.chosen
        else None,
        "engine": variant.engine,
        "model": variant.model,
        "nodes": service.resources.nodes,
        "gpus_per_node": service.resources.gpus,
        "gpu_type": service.resources.gpu_type,
        "argv": list(service.argv),
        "env": dict(service.command.env),
        "container": service.container.name if service.container is not None else None,
        "files": {name: LiteralScalarString(text) for name, text in service.command.files.items()},
        "figures": figures,
    }
    stream = StringIO()
    yaml = YAML()
    yaml.width = 1000
    yaml.dump(document, stream)
    return stream.getvalue()


def _figure(figure: object) -> dict[str, object]:
    names = ("value", "unit", "n", "of", "condition", "low", "high", "simulated")
    return {name: getattr(figure, name) for name in names}
