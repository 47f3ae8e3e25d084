"""`python -m devcluster`: start, look at and stop the embedded control plane."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from devcluster import Cluster, ClusterError
from devcluster.build import BuildFailed, binary

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Folder = Annotated[Path, typer.Option("--dir", help="Folder of this control plane's files.")]
HOME = Path(".devcluster")


@app.command()
def build() -> None:
    """Compile the control plane if it is not in the cache (12 minutes the first time)."""
    binary()


@app.command()
def up(
    folder: Folder = HOME,
    images: Annotated[Path | None, typer.Option(help="YAML file {image: [argv…]} of further images.")] = None,
    gpus: Annotated[int, typer.Option(help="GPUs that the node pretends to have.")] = 0,
) -> None:
    """Start it and leave it running. What runs already is left as it is."""
    cluster = Cluster.start(folder, images=images, gpus=gpus, ephemeral=False)
    typer.echo(f"export KUBECONFIG={cluster.kubeconfig}")


@app.command()
def down(folder: Folder = HOME) -> None:
    """Stop it with all its Pods. Its files stay in the folder."""
    try:
        Cluster.attach(folder).stop()
    except ClusterError:
        typer.echo(f"nothing runs in {folder}")


@app.command()
def status(folder: Folder = HOME) -> None:
    """Say what runs; exit status 1 when nothing does."""
    cluster = Cluster.attach(folder)
    typer.echo(cluster.kubectl("get", "nodes,pods", "--all-namespaces"))


@app.command()
def kubeconfig(folder: Folder = HOME) -> None:
    """Print the path of the kubeconfig."""
    typer.echo(Cluster.attach(folder).kubeconfig)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def kubectl(context: typer.Context, folder: Folder = HOME) -> None:
    """The kubectl of this control plane: `python -m devcluster kubectl get pods`."""
    cluster = Cluster.attach(folder)
    command = [cluster.executable, "kubectl", f"--kubeconfig={cluster.kubeconfig}", *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    try:
        app()
    except (ClusterError, BuildFailed) as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(1)
