"""Builds the programs of Kubernetes and Nomad from their Go modules, and caches them by version.

Test machines can download Go modules, but no binaries. Each set of programs has a Go module of its
own that names them as tools (`go get -tool`, Go 1.24). So the dependencies of both sets are
resolved separately, and Go's checksum database verifies them.

1.34 is the newest Kubernetes that was seen to work under cgroup v1, which test machines may have.
`go install` refuses a module with `replace` lines, which both have. A module of tools may repeat
these lines, and does so here.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ClusterError
from .machine.places import Places
from .machine.programs import run
from .progress import step


@dataclass(frozen=True)
class Recipe:
    """One Go module and the programs to build from it."""

    name: str
    module: str
    version: str
    packages: tuple[str, ...]  # below the module; "" is the module itself
    minutes: int  # to build without a cache on two cores; printed as progress
    variables: Mapping[str, str] = field(default_factory=dict)  # for the linker's -X
    # module -> the module that replaces it, version
    replacements: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    staging: str | None = None  # published version of the modules in its `staging` directory

    @property
    def programs(self) -> tuple[str, ...]:
        """The file names of the programs."""
        return tuple(path.rpartition("/")[2] for path in self.paths)

    @property
    def paths(self) -> tuple[str, ...]:
        """The import paths of the programs."""
        return tuple(f"{self.module}/{package}".rstrip("/") for package in self.packages)


_COMPONENT_VERSION = "k8s.io/component-base/version"

KUBERNETES = Recipe(
    name="kubernetes",
    module="k8s.io/kubernetes",
    version="v1.34.4",
    packages=tuple(
        f"cmd/{program}"
        for program in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kubectl",
        )
    ),
    minutes=7,
    variables={  # without these, the API server reports the version v0.0.0-master
        f"{_COMPONENT_VERSION}.gitVersion": "v1.34.4",
        f"{_COMPONENT_VERSION}.gitMajor": "1",
        f"{_COMPONENT_VERSION}.gitMinor": "34",
    },
    staging="v0.34.4",
)

NOMAD = Recipe(
    name="nomad",
    module="github.com/hashicorp/nomad",
    version="v1.11.3",
    packages=("",),
    minutes=4,
    replacements={  # as in Nomad's go.mod; `api`, a path there, at the commit of the release
        "github.com/hashicorp/nomad/api": (
            "github.com/hashicorp/nomad/api",
            "v0.0.0-20261016150620-df630b26e78a",
        ),
        "github.com/hashicorp/hcl": (
            "github.com/hashicorp/hcl",
            "v1.0.1-nomad-1",
        ),
        "github.com/Microsoft/go-winio": (
            "github.com/endocrimes/go-winio",
            "v0.4.13-0.20190628114223-fb47a8b41948",
        ),
    },
)

RECIPES = (KUBERNETES, NOMAD)  # of the cluster

HELM = Recipe(  # of the chart's tests
    name="helm",
    module="helm.sh/helm/v3",
    version="v3.22.0",
    packages=("cmd/helm",),
    minutes=2,
)


def directory(places: Places, recipe: Recipe) -> Path:
    """The directory of the recipe's programs. It may not exist yet."""
    return places.cache / "binaries" / f"{recipe.name}-{recipe.version}"


def built(places: Places, recipe: Recipe) -> bool:
    """Whether all of the recipe's programs are in the cache."""
    return all((directory(places, recipe) / program).exists() for program in recipe.programs)


def build(places: Places, recipe: Recipe) -> Path:
    """Build the recipe's programs, unless they are in the cache. Returns their directory.

    Raises ClusterError if Go is not installed or the build fails.
    """
    target = directory(places, recipe)
    if built(places, recipe):
        return target
    if not shutil.which("go"):
        raise ClusterError(f"{recipe.name} must be built, and Go isn't installed: install Go")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        step(f"building {recipe.name} {recipe.version} (about {recipe.minutes} minutes)"),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch,
    ):
        _build(recipe, Path(scratch))
        shutil.rmtree(target, ignore_errors=True)
        (Path(scratch) / "bin").replace(target)
    return target


def _build(recipe: Recipe, scratch: Path) -> None:
    """Create the module of tools in `scratch`, and build its programs into `scratch`/bin."""
    env = {"CGO_ENABLED": "0", "GOWORK": "off"}
    run("go", "mod", "init", f"cluster/{recipe.name}", cwd=scratch, env=env)
    replacements = {**recipe.replacements, **_staged(recipe, scratch)}
    replace = [f"-replace={old}={new}@{at}" for old, (new, at) in replacements.items()]
    if replace:  # without a flag, `go mod edit` is an error
        run("go", "mod", "edit", *replace, cwd=scratch, env=env)
    tools = [f"{path}@{recipe.version}" for path in recipe.paths]
    run("go", "get", "-tool", *tools, cwd=scratch, env=env)
    variables = " ".join(f"-X {name}={value}" for name, value in recipe.variables.items())
    run(
        *("nice", "-n", "19"),  # uses all cores for minutes; other processes have priority
        *("go", "build", "-trimpath", "-ldflags", f"-s -w {variables}"),
        *("-o", f"{scratch / 'bin'}/", *recipe.paths),
        cwd=scratch,
        env=env,
    )


def _staged(recipe: Recipe, scratch: Path) -> dict[str, tuple[str, str]]:
    """The published versions of the modules that the module replaces by a path in its repository.

    Kubernetes has thirty such modules in its `staging` directory. Each of them is also published
    with a version of its own.
    """
    if recipe.staging is None:
        return {}
    source = f"{recipe.module}@{recipe.version}"
    got = json.loads(run("go", "mod", "download", "-json", source, cwd=scratch))
    module = json.loads(run("go", "mod", "edit", "-json", got["GoMod"], cwd=scratch))
    lines = module.get("Replace") or ()
    staged = [line["Old"]["Path"] for line in lines if line["New"]["Path"].startswith("./")]
    return {path: (path, recipe.staging) for path in staged}
