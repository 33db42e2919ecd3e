"""The nouns of ciflow: frozen values that every layer speaks in. Nothing here does I/O.

Reading order: what a playbook says (Playbook, Play, Block, Task), whom it is about (Host), what goes over the
wire (Operation, Reply), what a generator yields and is sent (Step, Reply, Outcome), what is recorded (Event).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeAlias

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Diagnostic, Span

EMPTY: Mapping[str, Any] = {}

# --- what a playbook says ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Template:
    """Text from a trusted source that may hold `{{ }}` or `{% %}`. Plain `str` values are data, never rendered.

    `expression` marks a bare expression (`when:`), whose source has no braces. `marks` place every character:
    (offset in source, line, column), from which on the text runs on. `inherited` is of a keyword: what holds where it
    comes out as `omit`.
    """

    source: str
    span: Span
    expression: bool = False
    marks: tuple[tuple[int, int, int], ...] = field(default=(), compare=False, repr=False)
    inherited: Any = field(default=None, compare=False, repr=False)


# A value in a playbook: a scalar, a Template, or lists and mappings of values.
Value: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Loop:
    """`loop:` and its control. `items` is a list of values, or a Template that gives a list.

    `kind` is `loop` or the name after `with_` (`items`, `dict`, `sequence`, `fileglob`, `nested`, ..).
    """

    items: Value
    kind: str = "loop"
    var: str = "item"
    index_var: str = ""
    label: Value = None
    pause: Value = 0.0  # seconds
    extended: Value = False
    extended_allitems: Value = True
    break_when: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Become:
    """Who executes: `user` by `method` (sudo, su, doas) with its `flags`, or by `exe` in place of that program.

    None is "not said": the command line may say it, else the login user (enabled), root, sudo.
    """

    enabled: Value = None
    user: Value = None
    method: Value = None
    flags: Value = None
    exe: Value = None


@dataclass(frozen=True, slots=True)
class RoleRun:
    """One use of a role. `key` is equal for uses that do the same; `place` is this one's part of its tasks' paths.

    `once`: not run on a host where another use with this key ran before (a role that doesn't allow duplicates).
    `parents`: names and folders of the roles that import or include it, the nearest first. `chain`: folders of all
    roles that brought it, as a dependency too: where its files are looked for behind its own.
    """

    key: str
    place: tuple[str, ...]
    once: bool
    parents: tuple[tuple[str, str], ...] = ()
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One task, with everything it inherits from its blocks, role and play already written into it.

    `path` is its place in the play, stable over runs of the same source: part of every operation's key.
    `vars` are innermost last: block vars, then its own. `module` is a name in `modules.MODULES`, or one of the
    engine's own words: `include_tasks`, `include_role`, `include_vars`, `meta`.
    """

    name: Value
    module: str
    args: Mapping[str, Value]
    span: Span
    path: tuple[str, ...]
    when: tuple[Value, ...] = ()
    loop: Loop | None = None
    register: str = ""
    changed_when: tuple[Value, ...] | None = None
    failed_when: tuple[Value, ...] | None = None
    until: tuple[Value, ...] | None = None
    retries: Value = None  # tries after the first; with `until` 3 unless given
    delay: Value = 5.0
    notify: tuple[Value, ...] = ()
    listen: tuple[str, ...] = ()
    vars: tuple[Mapping[str, Value], ...] = ()
    environment: tuple[Value, ...] = ()
    tags: frozenset[str] = frozenset()
    become: Become = Become()
    delegate_to: Value = None
    delegate_facts: Value = False
    run_once: Value = False
    ignore_errors: Value = False
    ignore_unreachable: Value = False
    any_errors_fatal: Value = False
    no_log: Value = False
    check_mode: Value = None
    diff: Value = None
    timeout: Value = 0
    throttle: Value = 0
    async_limit: Value = 0  # seconds that it may run apart from the play (`async`); 0: it is a part of it
    poll: Value = 15  # with `async_limit`, 0 leaves it behind, anything else waits for it
    debugger: Value = "never"
    irreversible: bool = False
    rescued: bool = False  # a block around it has a `rescue`
    role: str = ""  # name of the role it came from
    role_path: str = ""
    role_run: RoleRun | None = None
    base: str = ""  # folder that relative `src` names are looked up from first
    defaults: tuple[Mapping[str, Value], ...] = ()  # of its own role and what that depends on, nearest last
    params: tuple[Mapping[str, Value], ...] = ()  # role and include parameters, innermost last
    faults: tuple[Diagnostic, ...] = ()  # of its arguments, where somebody expects its failure: it fails by them
    inherit: Any = field(default=None, compare=False, repr=False)  # what tasks included here inherit (lang's own)
    spans: Mapping[str, Span] = field(default_factory=dict)  # of each keyword and argument, by name


@dataclass(frozen=True, slots=True)
class Block:
    """Tasks that stand or fall together. `rescue` runs when `body` failed on a host, `always` in any case."""

    body: tuple[Node, ...]
    span: Span
    path: tuple[str, ...]
    rescue: tuple[Node, ...] = ()
    always: tuple[Node, ...] = ()
    has_rescue: bool = False
    name: Value = ""


Node: TypeAlias = Task | Block


@dataclass(frozen=True, slots=True)
class Retry:
    """`retry:` of a play: `attempts` in all, waiting `delay` seconds, doubled each time when exponential."""

    attempts: int = 1
    backoff: str = "fixed"
    delay: float = 5.0
    max_delay: float = 300.0
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody must say yes before the play runs. `timeout` in seconds; 0 waits for ever."""

    prompt: Value
    approvers: tuple[str, ...] = ()
    timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """`vars_prompt:`, a variable that a person is asked for. What is typed is data, never rendered.

    `private` shows nothing of it, `confirm` asks twice; `encrypt` (sha256 or sha512) keeps its SHA-crypt hash, with
    `salt` or a random one of `salt_size` characters. `default` (None: none) may hold templates.
    """

    name: str
    span: Span
    text: Value = ""
    default: Value = None
    private: bool = True
    confirm: bool = False
    encrypt: str = ""
    salt: str = ""
    salt_size: int = 16


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that later plays know by name: made at `path`, or taken from the store by `key` or `digest`."""

    name: Value
    path: Value = None
    key: Value = None
    digest: Value = None


@dataclass(frozen=True, slots=True)
class Affected:
    """`affected` of a play: it runs only where what it is made from has changed. `crates`: none means all of the
    workspace in `folder`, which is relative to the playbook; `inputs` and `ignore` are patterns of files, from the top
    of the checkout."""

    crates: Value = ()
    folder: Value = "."
    base: Value = ""
    inputs: Value = ()
    ignore: Value = ()
    offline: Value = False


@dataclass(frozen=True, slots=True)
class CanaryStep:
    """One turn of the dial. `weight` in hundredths of a percent (1 % = 100), `mirror` too: the share of the live slot's
    requests that the candidate gets a copy of, whose answers nobody sees. `hold` in seconds."""

    weight: int
    hold: float
    min_requests: int = 0
    mirror: int = 0


@dataclass(frozen=True, slots=True)
class Canary:
    """`canary:` of a play, durations in seconds. `router` is (kind, its settings); settings may hold templates."""

    service: Value
    version: Value
    router: tuple[str, Mapping[str, Value]]
    slots: Mapping[str, Mapping[str, Value]]
    steps: tuple[CanaryStep, ...]
    gates: tuple[Mapping[str, Any], ...] = ()
    alpha: float = 0.01
    interval: float = 5.0
    on_failure: str = "rollback"
    on_inconclusive: str = "pause"
    deadline: float = 7200.0
    dead_man: float = 60.0
    warm_up: float = 30.0
    bake: float = 600.0
    keep_warm: float = 1800.0
    drain: float = 0.0  # until connections to the slot that a rollback left are cut; 0: they may last
    sick_for: float = 60.0
    early: bool = False
    by: str = ""
    require: Mapping[str, Value] = field(default_factory=dict)  # signed_by, bundles
    verify: tuple[Node, ...] = ()
    retire: tuple[Node, ...] = ()
    span: Span | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)  # of `router`, `slots` and `gates`, if said


@dataclass(frozen=True, slots=True)
class Play:
    """A play is a stage. Tasks hold the inlined pre_tasks, roles, tasks and post_tasks in Ansible's order."""

    id: str
    name: str
    hosts: Value
    span: Span
    tasks: tuple[Node, ...] = ()
    handlers: tuple[Task, ...] = ()
    vars: Mapping[str, Value] = field(default_factory=dict)
    vars_files: tuple[Value, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    answers: Mapping[str, Value] = field(default_factory=dict)  # what was typed, once it is known
    role_defaults: tuple[Mapping[str, Value], ...] = ()
    role_vars: tuple[Mapping[str, Value], ...] = ()
    roles: Mapping[str, bool] = field(default_factory=dict)  # by name: whether only another role depends on it
    facts: Mapping[str, Value] = field(default_factory=dict)  # which ones: arguments of `setup`
    gather_facts: bool | None = None  # facts are read when a name asks for one; true reads them at the start
    become: Become = Become()  # its own, as which user facts are read
    environment: tuple[Value, ...] = ()  # its own, in which facts are read; tasks have it among theirs
    needs: tuple[str, ...] | None = None  # None: the play before
    matrix: Mapping[str, Any] = field(default_factory=dict)  # axes, include, exclude, max_parallel
    when: tuple[Value, ...] = ()
    retry: Retry = Retry()
    approval: Approval | None = None
    outputs: Mapping[str, Value] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    always: bool = False
    affected: Affected | None = None
    canary: Canary | None = None
    strategy: str = ""  # linear, free or host_pinned; "": as the run has it
    serial: tuple[Value, ...] = ()
    order: str = "inventory"
    any_errors_fatal: bool = False
    max_fail_percentage: float | None = None
    force_handlers: bool | None = None  # None: as the command line says
    deadline: float = 0.0
    concurrency: str = ""
    image: Value = None  # what its hosts are made of for as long as it runs: a name, or a mapping with `name`
    tags: frozenset[str] = frozenset()
    spans: Mapping[str, Span] = field(default_factory=dict)  # of values that are found wrong later than they are read


@dataclass(frozen=True, slots=True)
class Notification:
    """Somebody to tell of a run. `to` is the kind; `settings` are that kind's own, and `when`, `title`, `text` and
    `body` are rendered for each message, with `event`. `on` names what is told."""

    to: str
    on: tuple[str, ...]
    span: Span
    settings: Mapping[str, Value] = field(default_factory=dict)
    when: tuple[Value, ...] = ()
    title: Value = None
    text: Value = None
    body: Value = None
    spans: Mapping[str, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Playbook:
    """A whole playbook: plays in order, and what stands above them."""

    name: str
    path: str
    plays: tuple[Play, ...]
    vars: Mapping[str, Value] = field(default_factory=dict)
    span: Span | None = None
    artifact_store: str = ""
    notifications: tuple[Notification, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the inventory. `vars` are merged group and host variables (values may be Templates)."""

    name: str
    connection: str  # local | ssh | docker | kubernetes
    vars: Mapping[str, Value] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


# --- what goes over the wire ---------------------------------------------------------------------------
# Text fields that name files or arguments are `str` with surrogateescape: any bytes but NUL survive.


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """Run `argv`, or `shell` by `executable` (/bin/sh). Nothing runs where `creates` exists or `removes` doesn't."""

    argv: tuple[str, ...] = ()
    shell: str = ""
    executable: str = ""
    stdin: bytes = b""
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 0.0  # seconds; 0: none. On expiry the whole process group ends
    creates: str = ""
    removes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What lies at `path`; nothing there is a good reply with {exists: false}.

    Data {exists, kind (file directory link fifo socket block char), mode ("0644"), uid, gid, owner, group, size,
    mtime, atime, ctime, inode, device, nlink, readable, writable, executable, hash (hex); of a link, target (as it
    says) and source (where that leads)}.
    """

    path: str
    hash: str = ""  # sha256, sha1, md5, or none
    follow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Bytes of a file, in reply.stdout. `length` 0 reads to the end; more than `limit` is an error."""

    path: str
    offset: int = 0
    length: int = 0
    limit: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Make `path` hold `content`, atomically. Idempotent: an equal file is left alone, only its attributes mended.

    `mode` is octal text or symbolic; `validate` is argv with `%s` for the temporary file; `expect` is the
    sha256 the file must have ("absent": no file), or the write is refused (compare-and-set).
    `source` (controller's file) replaces `content` for large files: streamed, never held whole.
    Data: {before, after} sha256 or "", {backup} path, {diff: [before, after]} when asked, and as far as the file is
    there mode, owner, group, uid, gid, size as they are now (Edit, Attrs, Copy and Mkdir tell these as well).
    """

    path: str
    content: bytes = b""
    source: str = ""
    mode: str = ""
    owner: str = ""
    group: str = ""
    backup: bool = False
    validate: tuple[str, ...] = ()
    expect: str = ""
    force: bool = True  # false: only when the file is not there
    follow: bool = True
    diff: bool = False
    check: bool = False  # predict only
    unsafe: bool = False  # write into the file itself where none can take its place (a mount of its own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Read, change and write a text file in one operation on the host.

    `kind` line (lineinfile), block (blockinfile) or replace; `spec` has that module's own arguments.
    Data {msg (Ansible's words: "line added", "1 replacements made"), found (lines taken out by `absent`),
    before, after (sha256), backup, and diff when asked}.
    """

    path: str
    kind: str
    spec: Mapping[str, Any]
    create: bool = False
    mode: str = ""
    owner: str = ""
    group: str = ""
    backup: bool = False
    validate: tuple[str, ...] = ()
    diff: bool = False
    check: bool = False
    unsafe: bool = False  # as of Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Attrs:
    """Mode, owner, group and times of what exists; `recurse` for a tree. Times are "now", Unix seconds, or, where
    their form (of strptime) is given, in that form by the host's own zone."""

    path: str
    mode: str = ""
    owner: str = ""
    group: str = ""
    mtime: str = ""
    atime: str = ""
    mtime_form: str = ""
    atime_form: str = ""
    recurse: bool = False
    follow: bool = True
    check: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Copy a file on the host itself; with the mode `preserve` it has the mode of the one that it is copied from."""

    path: str
    dest: str
    mode: str = ""
    owner: str = ""
    group: str = ""
    backup: bool = False
    validate: tuple[str, ...] = ()
    force: bool = True
    check: bool = False
    unsafe: bool = False  # as of Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove a file, a link or a whole tree; nothing there is no change."""

    path: str
    check: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mkdir:
    """A directory with its parents. `temporary` makes a fresh one (or a file) named prefix..suffix: data {path}."""

    path: str
    mode: str = ""
    owner: str = ""
    group: str = ""
    recurse: bool = False
    temporary: str = ""  # "file" or "directory"
    prefix: str = ""
    suffix: str = ""
    check: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic (or hard) link at `path` to `target`; `force` replaces what is there, unless a full directory."""

    path: str
    target: str
    hard: bool = False
    force: bool = False
    check: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What lies below `path`: data {entries: [stat..] sorted by path, at most `limit`; unread: [{path, error}];
    examined: how many were looked at}.

    `follow` goes into linked folders as well, never round in a circle; a link is told as a link in any case.
    `only` lets through what fits all of: kind (as Stat tells it); hidden (false: no name that begins with a dot);
    names, without (patterns of the shell, or regular expressions that match from the start where `regex` is true);
    contains (a regular expression that matches at the start of a line, or anywhere where `whole` is true), encoding;
    age [stamp, seconds] and size (bytes): at least so much, below zero at most; mode [words, exact or any bit].
    """

    path: str
    depth: int = 0
    hash: str = ""
    limit: int = 100_000
    follow: bool = False
    only: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Until a condition holds, seen from the host: a port, a file, a pattern in either. Seconds.

    `state`: started/present, stopped/absent, drained. Data {elapsed}.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    pattern: str = ""
    state: str = "started"
    delay: float = 0.0
    sleep: float = 0.2
    timeout: float = 300.0
    connect_timeout: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """One request to a socket seen from the host; `address` is a UNIX path or host:port. Reply in stdout.

    `end`: read until end of file, or until this text ends what came.
    """

    address: str
    payload: bytes
    end: str = ""
    timeout: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """One HTTP request seen from the host. Data {status, headers, url}; the body in stdout (or at `dest`)."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout: float = 30.0
    follow: str = "safe"  # none | safe | all
    verify: bool = True
    ca: str = ""
    user: str = ""
    password: str = ""
    dest: str = ""
    limit: int = 16 * 1024 * 1024
    proxy: bool = True  # the one of the host's environment, if there is one
    cert: str = ""  # file on the host by which it shows who it is, and the one with its key where that is another
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Limits that must hold while a Detached lives: run `read`, find the number by `pattern`, compare.

    `limit` is the most that it may be, `least` the least; None: no such limit. It breaks when it was outside more than
    `misses` times in a row. `every` are the seconds between two looks, 0: those of the Detached. What can't be read, or
    is no number, breaks nothing.
    """

    read: Talk | Http | Exec
    pattern: str
    limit: float | None = None
    least: float | None = None
    misses: int = 0
    every: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Detached:
    """Operations that run apart from the controller, under their own supervisor on the host, found by `key`.

    `verb`: start (idempotent: a live one with an equal digest is left alone; another is replaced), ask, renew,
    cancel. `after` > 0 is a dead-man: they run when nobody has renewed for that long by monotonic time, or at
    once when a `watch` breaks. `restart` keeps one long-running Exec alive (a supervised process), with its
    output in `log` ("": beside the journal).
    Data of start and ask: {state: absent|armed|running|done|failed, pid, started, restarts, rc, log, fired}.
    """

    key: str
    verb: str = "start"
    operations: tuple[Operation, ...] = ()
    after: float = 0.0
    watch: tuple[Watch, ...] = ()
    every: float = 1.0
    restart: bool = False
    log: str = ""
    grace: float = 10.0  # seconds between SIGTERM and SIGKILL at cancel


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One request to the API of `kind` (docker, kubernetes, remote_execution), made beside the controller; only that
    target's file answers it.

    `request` is plain values in that file's own words, and so is the reply's data. `repeat` promises that asking again
    is harmless (it reads, or it states what should be), so that a request whose reply was lost is made again; any
    other becomes unknown. In check mode a Change of it is answered `skipped`: whoever can predict asks a Probe.
    """

    kind: str
    request: Mapping[str, Any]
    repeat: bool = True


Operation: TypeAlias = (
    Exec | Stat | Read | Write | Edit | Attrs | Copy | Remove | Mkdir | Link | Walk | Wait | Talk | Http | Detached
    | Api
)  # fmt: skip

OPERATIONS: dict[str, type[Any]] = {
    "exec": Exec,
    "stat": Stat,
    "read": Read,
    "write": Write,
    "edit": Edit,
    "attrs": Attrs,
    "copy": Copy,
    "remove": Remove,
    "mkdir": Mkdir,
    "link": Link,
    "walk": Walk,
    "wait": Wait,
    "talk": Talk,
    "http": Http,
    "detached": Detached,
    "api": Api,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an operation came to. `status`:

    done     it ran; `ok` is the host's own judgement (exit code 0, file as wished)
    skipped  not started: its guard did not hold, or creates/removes said so
    unknown  nobody can say whether it ran: never success
    refused  not started: an expectation or a token did not hold
    """

    status: str = "done"
    ok: bool = True
    changed: bool = False
    rc: int | None = None
    signal: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    spilled: Mapping[str, str] = field(default_factory=dict)  # stream -> file on the host holding all of it
    truncated: bool = False
    error: str = ""  # plain words with the path or address in them
    errno: str = ""  # ENOSPC, EACCES, ETIMEDOUT..
    data: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0  # Unix seconds by the host's clock
    duration: float = 0.0
    cpu: float = 0.0  # user + system seconds of an Exec
    peak_kb: int = 0
    # How it came, which it doesn't say itself: bytes to and from the host since its answer before, all that the
    # connection needs included. Known where that leaves the machine.
    sent: int = field(default=0, compare=False)
    received: int = field(default=0, compare=False)


# --- what generators yield ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """Reads. Safe to run again. `last` promises that no step follows a good reply (done and ok), so the next task
    may be sent ahead; after any other reply the generator may still ask or mend."""

    operation: Operation
    last: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Writes. In check mode a state operation is sent with `check=True`; any other is answered `skipped`, unsent."""

    operation: Operation
    last: bool = False


@dataclass(frozen=True, slots=True)
class At:
    """A step done elsewhere: `place` is "controller" or the name of a host."""

    place: str
    step: Probe | Change


@dataclass(frozen=True, slots=True)
class Render:
    """Render the controller's file `src` as a template with the host's variables: text in reply.stdout.

    Data {vaulted: true} when the file is encrypted by ansible-vault. `plain` only opens such a file: its bytes.
    """

    src: str
    plain: bool = False
    vars: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # Jinja2's names: trim_blocks, variable_start_string, ..


@dataclass(frozen=True, slots=True)
class Hold:
    """Let `seconds` pass; 0 with a `prompt` waits until somebody answers at the terminal, unseen if `secret`.

    The reply's data has {resumed: bool} and {command: ..} (what was typed) when somebody intervened. It is not ok
    where nobody can be asked. `meet` (of rollouts that go together; 0: not asked) ends it as soon as all others have
    come as far, data {met: true}; {turned_back: why} and {left: why} say what one of them has done.
    """

    seconds: float
    prompt: str = ""
    why: str = ""
    secret: bool = False
    meet: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Run a task list on the play's hosts with extra variables; reply.ok says whether all went well."""

    label: str
    nodes: tuple[Node, ...]
    vars: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compile:
    """Make of a task list what the hosts of the play can do alone, later, with nobody to tell: nothing is run.

    Data of the reply: {places: {place: [operation as on the wire, ..]}}, each place good for an `At`.
    """

    nodes: tuple[Node, ...]
    vars: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """Record an event (kind, data) in the run's journal; answered at once. For people: state, gates, dial."""

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Abreast:
    """Steps of several generators side by side; answered when all have ended. Each keeps what it came to, and a failure
    of its own, for itself."""

    parts: tuple[Generator[Step, Reply, None], ...]


Step: TypeAlias = Probe | Change | At | Render | Hold | Run | Compile | Note | Abreast


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a task came to on one host. `data` is what `register` shows beside the common keys."""

    changed: bool = False
    failed: bool = False
    skipped: bool = False
    msg: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    diff: tuple[str, str] | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a module may know beside its arguments. Pure data; `facts` holds what the module asked for."""

    host: str = ""
    check: bool = False
    diff: bool = False
    search: tuple[str, ...] = ()  # folders on the controller where relative sources are looked up, nearest first
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 0.0
    artifacts: Mapping[str, str] = field(default_factory=dict)  # name -> file on the controller
    provenance: Mapping[str, str] = field(default_factory=dict)  # name -> what the engine wrote of how it was built
    run: str = ""
    seed: str = ""  # unique and stable for this task on this host in this run
    workdir: str = ""  # where ciflow may keep files on the controller
    now: float = 0.0  # Unix seconds when the task started, recorded
    verbosity: int = 0  # how many -v


Steps: TypeAlias = Generator[Step, Reply, Outcome]

# --- what is recorded -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the journal. `kind` is a word of the list in docs/events.md; `play`, `host`, `task` may be empty.

    `seq` is the store's number; `at` Unix seconds.
    """

    kind: str
    run: str
    at: float = 0.0
    seq: int = 0
    play: str = ""  # play id with its matrix cell: build[bin=server]
    host: str = ""
    task: str = ""  # task path joined by "/"
    key: str = ""  # operation key, where there is one
    data: Mapping[str, Any] = field(default_factory=dict)
