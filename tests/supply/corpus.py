"""Workspaces that generators of bills of materials get wrong, each with what is right.

The right values are worked out by hand from the Cargo book: "Specifying Dependencies", "Overriding Dependencies",
"Features" (with the resolver of version 2), "Workspaces", "Build Scripts"; purls from purl-spec's type `cargo`. A
component is `required` when code of it gets into what is delivered, `excluded` when it only helps in building.
All registries are directories and all repositories are here, so no network is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """`files` of the workspace, `crates` of the registry (`name version`: rest of the manifest), `repositories`.

    `right` has `purl`: scope; a blank at the end keeps a second component of one purl apart. In texts `{base}` is the
    folder of all, `{NAME}` the commit of a repository.
    `edges` are pairs of names that depend on each other, where names are unique and the case is about edges.
    """

    name: str
    files: Mapping[str, str]
    right: Mapping[str, str]
    crates: Mapping[str, str] = field(default_factory=dict)
    repositories: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    edges: frozenset[tuple[str, str]] = frozenset()
    features: Mapping[str, str] = field(default_factory=dict)


def manifest(name: str, rest: str = "", version: str = "1.0.0") -> str:
    return f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n{rest}\n'


APP = "pkg:cargo/app@1.0.0"
CASES = (
    Case(
        "several versions",
        {"Cargo.toml": manifest("app", '[dependencies]\nalpha = "1"\nbeta = "1"'), "src/main.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/alpha@1.2.3": "required", "pkg:cargo/alpha@0.9.2": "required",
         "pkg:cargo/beta@1.0.0": "required"},
        {"alpha 1.2.3": "", "alpha 0.9.2": "", "beta 1.0.0": '[dependencies]\nalpha = "0.9"'},
        edges=frozenset({("app 1.0.0", "alpha 1.2.3"), ("app 1.0.0", "beta 1.0.0"), ("beta 1.0.0", "alpha 0.9.2")}),
    ),
    Case(
        "renamed",
        {"Cargo.toml": manifest("app", '[dependencies]\njson = { package = "gamma", version = "1" }'),
         "src/main.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/gamma@1.0.0%2Bbuild.7": "required"},
        {"gamma 1.0.0+build.7": ""},
    ),
    Case(
        "git by branch, tag and revision",
        {"Cargo.toml": manifest("app", '[dependencies]\nb = { git = "file://{base}/b", branch = "dev" }\n'
                                't = { git = "file://{base}/t", tag = "v1" }\n'
                                'r = { git = "file://{base}/r", rev = "{r}" }'),
         "src/main.rs": "fn main() {}"},
        {APP: "required"} | {f"pkg:cargo/{n}@0.1.0?vcs_url=git%2Bfile://{{base}}/{n}%40{{{n}}}": "required"
                             for n in "btr"},
        repositories={"b": "dev", "t": "main", "r": "main"},
    ),
    Case(
        "a path outside the workspace",
        {"Cargo.toml": manifest("app", '[dependencies]\nlocal = { path = "../outside/local" }'),
         "src/main.rs": "fn main() {}",
         "../outside/local/Cargo.toml": manifest("local", "", "0.3.0") + "[workspace]\n",
         "../outside/local/src/lib.rs": ""},
        {APP: "required", "pkg:cargo/local@0.3.0": "required"},
    ),
    Case(
        "another registry",
        {"Cargo.toml": manifest("app", '[dependencies]\nomega = { version = "1", registry = "mine" }'),
         "src/main.rs": "fn main() {}"},
        {APP: "required",
         "pkg:cargo/omega@1.0.0?repository_url=https://registry.example/index/": "required"},
        {"omega 1.0.0": ""},
        config='[registries.mine]\nindex = "sparse+https://registry.example/index/"\n'
        '[source.mine]\nregistry = "sparse+https://registry.example/index/"\nreplace-with = "vendored"\n',
    ),
    Case(
        "a vendored git repository",
        {"Cargo.toml": manifest("app", '[dependencies]\ndelta = { git = "https://git.example/delta", rev = "{sha}" }'),
         "src/main.rs": "fn main() {}",
         "Cargo.lock": 'version = 4\n\n[[package]]\nname = "app"\nversion = "1.0.0"\ndependencies = [\n "delta",\n]\n\n'
                       '[[package]]\nname = "delta"\nversion = "1.0.0"\n'
                       'source = "git+https://git.example/delta?rev={sha}#{sha}"\n'},
        {APP: "required",
         "pkg:cargo/delta@1.0.0?vcs_url=git%2Bhttps://git.example/delta%40{sha}": "required"},
        {"delta 1.0.0": "git"},
        config='[source."git+https://git.example/delta?rev={sha}"]\ngit = "https://git.example/delta"\n'
        'rev = "{sha}"\nreplace-with = "vendored"\n',
    ),
    Case(
        "conditions on the platform",
        {"Cargo.toml": manifest("app", '[target.\'cfg(windows)\'.dependencies]\nwinonly = "1"\n'
                                "[target.'cfg(all(unix, not(target_os = \"macos\")))'.dependencies]\nunixonly = \"1\"\n"
                                '[target.wasm32-unknown-unknown.dependencies]\nweb = "1"'),
         "src/main.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/unixonly@1.0.0": "required"},
        {"winonly 1.0.0": '[dependencies]\nwinsys = "1"', "winsys 1.0.0": "", "unixonly 1.0.0": "", "web 1.0.0": ""},
    ),
    Case(
        "optional dependencies and features",
        {"Cargo.toml": manifest("app", '[features]\ndefault = ["dep:on"]\nmore = ["dep:off"]\nweak = ["off?/extra"]\n'
                                '[dependencies]\non = { version = "1", optional = true }\n'
                                'off = { version = "1", optional = true }\n'
                                'plain = { version = "1", default-features = false, features = ["chosen"] }'),
         "src/main.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/on@1.0.0": "required", "pkg:cargo/plain@1.0.0": "required",
         "pkg:cargo/chosen@1.0.0": "required"},
        {"on 1.0.0": "", "off 1.0.0": "[features]\nextra = []", "chosen 1.0.0": "", "unchosen 1.0.0": "",
         "plain 1.0.0": '[features]\ndefault = ["dep:unchosen"]\nchosen = ["dep:chosen"]\n[dependencies]\n'
                        'chosen = { version = "1", optional = true }\nunchosen = { version = "1", optional = true }'},
        features={"plain": "chosen", "app": "default"},
    ),
    Case(
        "only for the build, only for tests",
        {"Cargo.toml": manifest("app", 'build = "build.rs"\n[dependencies]\nshared = "1"\n'
                                '[build-dependencies]\nbuilder = "1"\n[dev-dependencies]\ntester = "1"'),
         "src/main.rs": "fn main() {}", "build.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/shared@1.0.0": "required", "pkg:cargo/builder@1.0.0": "excluded",
         "pkg:cargo/hostonly@1.0.0": "excluded"},
        {"builder 1.0.0": '[dependencies]\nshared = "1"\nhostonly = "1"', "hostonly 1.0.0": "", "shared 1.0.0": "",
         "tester 1.0.0": '[dependencies]\ntestdep = "1"', "testdep 1.0.0": ""},
    ),
    Case(
        "a procedural macro",
        {"Cargo.toml": manifest("app", '[dependencies]\nderive = "1"\nshared = "1"'), "src/main.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/derive@1.0.0": "excluded", "pkg:cargo/quoteish@1.0.0": "excluded",
         "pkg:cargo/shared@1.0.0": "required"},
        {"derive 1.0.0": '[lib]\nproc-macro = true\n[dependencies]\nquoteish = "1"\nshared = "1"',
         "quoteish 1.0.0": "", "shared 1.0.0": ""},
    ),
    Case(
        "a feature that only the build side needs",
        {"Cargo.toml": manifest("app", 'build = "build.rs"\nresolver = "2"\n[dependencies]\ncommon = "1"\n'
                                '[build-dependencies]\ncommon = { version = "1", features = ["heavy"] }'),
         "src/main.rs": "fn main() {}", "build.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/common@1.0.0": "required", "pkg:cargo/heavy@1.0.0": "excluded"},
        {"common 1.0.0": '[features]\nheavy = ["dep:heavy"]\n[dependencies]\n'
                         'heavy = { version = "1", optional = true }', "heavy 1.0.0": ""},
        features={"common": ""},
    ),
    Case(
        "a feature that only tests need",
        {"Cargo.toml": manifest("app", 'resolver = "2"\n[dependencies]\ncommon = "1"\n'
                                '[dev-dependencies]\ncommon = { version = "1", features = ["heavy"] }'),
         "src/main.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/common@1.0.0": "required"},
        {"common 1.0.0": '[features]\nheavy = ["dep:heavy"]\n[dependencies]\n'
                         'heavy = { version = "1", optional = true }', "heavy 1.0.0": ""},
        features={"common": ""},
    ),
    Case(
        "several roots",
        {"Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["one", "two", "lib", "idle"]\n',
         "one/Cargo.toml": manifest("one", '[dependencies]\nlib = { path = "../lib" }\nalpha = "1"'),
         "one/src/main.rs": "fn main() {}",
         "two/Cargo.toml": manifest("two", '[dependencies]\nlib = { path = "../lib" }'),
         "two/src/main.rs": "fn main() {}",
         "lib/Cargo.toml": manifest("lib"), "lib/src/lib.rs": "",
         "idle/Cargo.toml": manifest("idle", '[dependencies]\nunused = "1"'), "idle/src/lib.rs": ""},
        {"pkg:generic/work@1.0.0": "required", "pkg:cargo/one@1.0.0": "required", "pkg:cargo/two@1.0.0": "required",
         "pkg:cargo/lib@1.0.0": "required", "pkg:cargo/alpha@1.0.0": "required"},
        {"alpha 1.0.0": "", "unused 1.0.0": ""},
        edges=frozenset({("work 1.0.0", "one 1.0.0"), ("work 1.0.0", "two 1.0.0"), ("one 1.0.0", "lib 1.0.0"),
                         ("one 1.0.0", "alpha 1.0.0"), ("two 1.0.0", "lib 1.0.0")}),
    ),
    Case(
        "patched by a folder",
        {"Cargo.toml": manifest("app", '[dependencies]\nalpha = "1"\n[patch.crates-io]\nalpha = { path = "mine" }'),
         "src/main.rs": "fn main() {}", "mine/Cargo.toml": manifest("alpha", "", "1.9.0"), "mine/src/lib.rs": ""},
        {APP: "required", "pkg:cargo/alpha@1.9.0": "required"},
        {"alpha 1.2.3": ""},
    ),
    Case(
        "replaced by a folder",
        {"Cargo.toml": manifest("app", '[dependencies]\nbeta = "1"\n[replace]\n"alpha:1.2.3" = { path = "mine" }'),
         "src/main.rs": "fn main() {}", "mine/Cargo.toml": manifest("alpha", "", "1.2.3"), "mine/src/lib.rs": ""},
        {APP: "required", "pkg:cargo/beta@1.0.0": "required", "pkg:cargo/alpha@1.2.3": "required"},
        {"alpha 1.2.3": "", "beta 1.0.0": '[dependencies]\nalpha = "1"'},
        edges=frozenset({("app 1.0.0", "beta 1.0.0"), ("beta 1.0.0", "alpha 1.2.3")}),
    ),
    Case(
        "inherited from the workspace",
        {"Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["app"]\n[workspace.package]\nversion = "1.0.0"\n'
                       'license = "MIT"\nedition = "2021"\n[workspace.dependencies]\n'
                       'common = { version = "1", default-features = false }\n',
         "app/Cargo.toml": '[package]\nname = "app"\nversion.workspace = true\nlicense.workspace = true\n'
                           'edition.workspace = true\n[dependencies]\n'
                           'common = { workspace = true, features = ["more"] }\n',
         "app/src/main.rs": "fn main() {}"},
        {APP: "required", "pkg:cargo/common@1.0.0": "required", "pkg:cargo/more@1.0.0": "required"},
        {"common 1.0.0": '[features]\ndefault = ["dep:standard"]\nmore = ["dep:more"]\n[dependencies]\n'
                         'more = { version = "1", optional = true }\nstandard = { version = "1", optional = true }',
         "more 1.0.0": "", "standard 1.0.0": ""},
        features={"common": "more"},
    ),
    Case(
        "one name and version from two places",
        {"Cargo.toml": manifest("app", '[dependencies]\nutil = "1"\nown = { package = "util", path = "util" }'),
         "src/main.rs": "fn main() {}", "util/Cargo.toml": manifest("util"), "util/src/lib.rs": ""},
        {APP: "required", "pkg:cargo/util@1.0.0": "required", "pkg:cargo/util@1.0.0 ": "required"},
        {"util 1.0.0": ""},
    ),
)  # fmt: skip
