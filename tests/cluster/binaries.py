"""The programs of Kubernetes and Nomad, built from their Go modules and cached by version.

Test machines can download Go modules, but no binaries. Each set of programs has its own Go module,
which lists them as tools (`go get -tool`, Go 1.24). The sets' hundreds of dependencies are therefore
resolved separately, and Go's checksum database verifies them.

Kubernetes 1.34 is the newest version that was observed to work under cgroup v1, which test machines
may have. `go install` refuses modules with `replace` lines, and both have some. A module of tools may
repeat these lines, as done here.
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
    minutes: int  # an uncached build on two cores; shown as progress
    variables: Mapping[str, str] = field(default_factory=dict)  # for the linker's -X
    # module -> replacement module, version
    replacements: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    staging: str | None = None  # version of the modules that this one replaces with a path

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of the files that the build makes."""
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
    variables={  # without them the API server calls itself v0.0.0-master
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
    replacements={  # as in its go.mod; the release's commit stands in for the path
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

RECIPES = (KUBERNETES, NOMAD)


def directory(places: Places, recipe: Recipe) -> Path:
    """The directory of the recipe's programs; it may not exist yet."""
    return places.cache / "binaries" / f"{recipe.name}-{recipe.version}"


def built(places: Places, recipe: Recipe) -> bool:
    """Whether all of the recipe's programs are in the cache."""
    return all((directory(places, recipe) / program).exists() for program in recipe.programs)


def build(places: Places, recipe: Recipe) -> Path:
    """The directory with the recipe's programs. Builds them unless they are cached.

    Raises ClusterError when there is no Go, or the build fails.
    """
    target = directory(places, recipe)
    if built(places, recipe):
        return target
    if not shutil.which("go"):
        raise ClusterError(f"{recipe.name} must be built, but Go isn't installed; install Go")
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
    """Make the module of tools in `scratch` and its programs in `scratch`/bin."""
    env = {"CGO_ENABLED": "0", "GOWORK": "off"}
    run("go", "mod", "init", f"cluster/{recipe.name}", cwd=scratch, env=env)
    replacements = {**recipe.replacements, **_staged(recipe, scratch)}
    replace = [f"-replace={old}={new}@{at}" for old, (new, at) in replacements.items()]
    run("go", "mod", "edit", *replace, cwd=scratch, env=env)
    tools = [f"{path}@{recipe.version}" for path in recipe.paths]
    run("go", "get", "-tool", *tools, cwd=scratch, env=env)
    variables = " ".join(f"-X {name}={value}" for name, value in recipe.variables.items())
    run(
        *("nice", "-n", "19"),  # it uses all cores for minutes; other processes have priority
        *("go", "build", "-trimpath", "-ldflags", f"-s -w {variables}"),
        *("-o", f"{scratch / 'bin'}/", *recipe.paths),
        cwd=scratch,
        env=env,
    )


def _staged(recipe: Recipe, scratch: Path) -> dict[str, tuple[str, str]]:
    """Published replacements for the modules that `go.mod` replaces with a path in its repository.

    Kubernetes does so for the thirty modules of its `staging` directory. Each of them is also
    published under its own version.
    """
    if recipe.staging is None:
        return {}
    source = f"{recipe.module}@{recipe.version}"
    got = json.loads(run("go", "mod", "download", "-json", source, cwd=scratch))
    module = json.loads(run("go", "mod", "edit", "-json", got["GoMod"], cwd=scratch))
    lines = module.get("Replace") or ()
    staged = [line["Old"]["Path"] for line in lines if line["New"]["Path"].startswith("./")]
    return {path: (path, recipe.staging) for path in staged}
