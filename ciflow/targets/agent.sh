# The agent of a host without Python: POSIX sh and the usual tools (mkdir, rm, mv, cat, head, tail, sleep, mkfifo, id;
# stat, sha256sum, readlink for files). It reads lines, performs each in a process of its own, and keeps a journal.
# What a line means stands in ciflow/targets/shell.py, what calls these functions in lower.py. $1-$2 is the mark.
mark=$1-$2
[ -z "$BASH_VERSION" ] || set +o posix # in its POSIX mode bash doesn't say that a program was killed
umask_was=$(umask)
umask 077
trap : HUP
newline='
'

# --- small things

say() { facts="$facts$1 $2$newline"; } # a name and JSON
fail() { # its errno, then words as JSON
  say ok false; say errno "\"$1\""; say error "$2"
  [ -z "$temp" ] || rm -f "$temp"
  exit 0
}
die() { say ok false; [ -z "$temp" ] || rm -f "$temp"; exit 1; } # the tool that failed has said why
birth() { # $born: when a process began, in the kernel's ticks; with its number it names one process for ever
  born=
  { read -r words <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${words##*) }
  [ "$1" != Z ] && born=${20}
}
locked() { # FILE command: under its lock, which goes with its holder
  if [ -d "$1" ] && [ -n "$flock" ]; then
    { shift; "$flock" 9 && "$@"; } 9<"$1"
  elif [ -n "$flock" ]; then
    { shift; "$flock" 9 && "$@"; } 9>>"$1"
  else
    holding=$1.lock tries=0
    read -r holder words </proc/self/stat
    birth "$holder"
    ticket=$holding.$holder # a lock says from its first moment on who has it
    rm -f "$ticket"
    { echo "$holder $born" >"$ticket"; } 2>/dev/null || [ -e "$ticket" ] || return 3
    until ln "$ticket" "$holding" 2>/dev/null; do
      [ -e "$ticket" ] || return 3 # what it guards is gone, with whoever would have listened
      break_lock
      sleep "$nap"
    done
    rm -f "$ticket"
    shift
    "$@"
    set -- $?
    rm -f "$holding"
    return "$1"
  fi
}
break_lock() { # of a holder that is gone. One breaks it at a time, and looks again: it may be another's by then
  { read -r who <"$holding"; } 2>/dev/null || return 0
  ! birth "${who% *}" || [ "$born" != "${who#* }" ] || return 0
  if mkdir "$holding.breaks" 2>/dev/null; then
    { read -r words <"$holding"; } 2>/dev/null && [ "$words" = "$who" ] && rm -f "$holding"
    rm -rf "$holding.breaks"
  else
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { rm -rf "$holding.breaks"; tries=0; } # who was at it has gone as well
  fi
}
folder_of_ours() { # nobody else may enter it
  [ -d "$1" ] || (umask "$(printf %o $((0$umask_was | 022)))"; mkdir -p "${1%/*}") 2>/dev/null && { [ -d "$1" ] || mkdir "$1" 2>/dev/null; }
  [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ -w "$1" ] || return 1
  case $(ls -ld "$1") in drwx------*) ;; *) return 1 ;; esac
}
family() { # a process and all that descend from it
  found=" $1 " grown=yes
  while [ -n "$grown" ]; do
    grown=
    for one in /proc/[0-9]*; do
      { read -r words <"$one/stat"; } 2>/dev/null || continue
      one=${one#/proc/} words=${words##*) }
      words=${words#* }
      case $found in *" $one "*) continue ;; *" ${words%% *} "*) found="$found$one " grown=yes ;; esac
    done
  done
  echo $found
}
end_group() { # of a process: asked, and after two seconds forced
  if [ -n "$setsid" ]; then group=-$1; else group=$(family "$1"); fi
  kill -s TERM -- $group
  patience=0
  while kill -s 0 "$1" && [ "$patience" -lt "$grace" ]; do sleep "$nap"; patience=$((patience + 1)); done
  [ -n "$setsid" ] || group="$group $(family "$1")"
  kill -s KILL -- $group
} 2>/dev/null

# --- what is told

amount() { # $n: the size of a file; $kept: how much of it is told
  n=0
  [ ! -s "$1" ] || n=$(stat -c %s "$1") # busybox's wc would read all of it
  n=$((n)) kept=$((n))
  [ -n "$probe" ] || [ "$n" -le 1048576 ] || kept=1048576
}
portion() { # FILE its size: all, or head and tail
  if [ "$2" -eq 0 ]; then return; fi
  if [ -n "$probe" ] || [ "$2" -le 1048576 ]; then head -c "$2" "$1"; return; fi
  head -c 524288 "$1"
  tail -c +$(($2 - 524287)) "$1" | head -c 524288
}
tell() {
  amount "$d/out"; one=$n kept_one=$kept
  amount "$d/err"
  printf 'r %s %s %s %s %s\n%s.\n' "$id" "$one" "$n" "$kept_one" "$kept" "$facts"
  portion "$d/out" "$one"
  portion "$d/err" "$n"
}
folder_of() { d=$run/$1; [ -n "$run" ] && [ -e "$d/begin" ] || d=$session/$id; } # of an operation under way
tell_live() { # NAME OUT ERR: what has come behind these
  folder_of "$1"
  amount "$d/out"; one=$((n - $2)); [ "$one" -le 60000 ] || one=60000; [ "$one" -ge 0 ] || one=0
  amount "$d/err"; two=$((n - $3)); [ "$two" -le 60000 ] || two=60000; [ "$two" -ge 0 ] || two=0
  printf 'l %s %s %s\n' "$id" "$one" "$two"
  [ "$one" -eq 0 ] || tail -c +$(($2 + 1)) "$d/out" | head -c "$one"
  [ "$two" -eq 0 ] || tail -c +$(($3 + 1)) "$d/err" | head -c "$two"
}
reply_with() { d=/nowhere; facts=$1; locked "$session/pipe" tell; }

# --- the journal: a folder for each operation, `begin` in it (who, since when, digest) and `end` (facts, a dot)

holder() { held=; [ ! -s "$project" ] || read -r held <"$project" || :; }
take() { # TOKEN NAME: compare and set
  holder
  [ "$held" != "$1" ] || return 0
  words=${held#[}
  words=${words%%,*} ours=${1#[}
  ours=${ours%%,*}
  [ "${words:-0}" -lt "$ours" ] || return 1
  printf '%-512s' "$1" >"$project"
}
begin() { # EPOCH PROJECT RUN HOLDER
  mine=$4 warning=
  if [ -n "$base" ]; then
    run=$base/$1/runs/$3 project=$base/$1/projects/$2
    mkdir -p "$base/$1/projects" "$run" 2>/dev/null || warning="$base/$1: no folder can be made"
    touch "$run" # nobody sweeps it away as one that is over
    if [ -z "$warning" ]; then
      [ -e "$project" ] || : >>"$project"
      if ! locked "$project" take "$mine"; then holder; echo "t superseded $held"; return; fi
      holder
      [ "$held" = "$mine" ] || { project=; warning="$base: no room"; }
      read -r words </proc/sys/kernel/random/uuid
      [ -s "$run/id" ] || { echo "$words" >"$run/id.$$" && ln "$run/id.$$" "$run/id"; rm -f "$run/id.$$"; } 2>/dev/null
      read -r identity <"$run/id" || warning="$run: no room"
    fi
  else
    warning='neither ~/.local/state/ciflow nor /var/tmp'
  fi
  [ -z "$warning" ] || { run= identity=; }
  echo "t begun $identity $warning"
} 2>/dev/null
admit() { # NAME DIGEST: 1 overtaken, 2 started before, 3 no place to write
  holder
  [ -z "$project" ] || [ "$held" = "$mine" ] || return 1
  [ -s "$run/id" ] || return 3
  mkdir "$d" || { [ -d "$d" ] && return 2; return 3; }
  echo "$me $since $2" >"$d/begin" && printf '%4096s' '' >"$d/end" && [ -s "$d/end" ] && return
  rm -rf "$d" "$run/id" # without room for records "absent" would lie: from now on it is "unknown"
  return 3
} 2>/dev/null
has_ended() {
  last=
  while read -r words; do last=$words; done <"$d/end"
  [ "$last" = . ]
} 2>/dev/null
is_alive() { { read -r words more <"$d/begin"; } 2>/dev/null && birth "$words" && [ "$born" = "${more%% *}" ]; }
await() { # its recorded end, once there is one
  while ! has_ended && is_alive; do sleep "$nap"; done
  if has_ended; then facts=$(cat "$d/end"); facts=${facts%.}; locked "$session/pipe" tell; return; fi
  reply_with "status \"unknown\"${newline}ok false${newline}error \"it was started, and nobody can say how it ended\"$newline"
}
clear() { is_alive || has_ended || rm -rf "$d"; }
once_more() { # DIGEST (+..: of what can be done twice): whether whoever was at it is gone, and has left nothing
  case $1 in +*) ;; *) return 1 ;; esac
  locked "$project" clear
  [ ! -d "$d" ]
}
again() {
  words=
  for tries in 1 2 3; do { read -r words <"$d/begin"; } 2>/dev/null && break; sleep "$nap"; done
  [ -z "$words" ] || [ "${words##* }" = "$1" ] || {
    reply_with "status \"refused\"${newline}ok false${newline}error \"another operation was started here under the same key\"$newline"
    return
  }
  await
}
asked() { # NAME JOURNAL (- : none is named): what became of an operation
  probe= d=$run/$1
  if [ -z "$run" ] || [ ! -s "$run/id" ]; then state=unknown
  elif [ ! -d "$d" ]; then state=unknown; [ "$2" != - ] && [ "$2" != "$identity" ] || state=absent
  elif has_ended; then state=done
  elif is_alive; then state=running
  elif has_ended; then state=done
  else state=unknown; fi
  locked "$session/pipe" echo "s $id $state"
  case $state in done | running) await ;; esac
}

# --- operations

start() { # NAME (- : it only looks) DIGEST SCRIPT
  trap : HUP
  probe= facts= temp= staged=${run:-$session}/up-$1
  read -r me words </proc/self/stat
  birth "$me" && since=$born
  if [ "$1" = - ]; then
    probe=yes d=$session/$id
    mkdir "$d"
  else
    d=$run/$1
    if [ -n "$project" ]; then locked "$project" admit "$1" "$2"; else false || set -- "$1" "$2" "$3" 3; fi
    case ${4:-$?} in
    1) reply_with "status \"refused\"${newline}ok false${newline}errno \"ESTALE\"${newline}overtaken $held$newline"; return ;;
    2) if once_more "$2"; then repeated=yes; start "$1" "$2" "$3"; else again "$2"; fi; return ;;
    3) d=$session/$id; mkdir "$d"; say data.warning '"no place to write a journal: lost operations will be unknown"' ;;
    esac
  fi
  read -r began words </proc/uptime
  trap finish EXIT
  exec 2>"$d/err"
  eval "$(printf %b "$3")"
  finish
}
finish() {
  say script $?
  trap - EXIT
  read -r words more </proc/self/stat
  [ "$words" = "$me" ] || return 0 # bash: a child that was killed, which has inherited the trap
  read -r words more </proc/uptime
  say uptime "[$began,$words]"
  [ -n "$probe" ] || printf '%s.\n' "$facts" >"$d/end"
  case $d in "$session"/*) mv "$d" "$d.$me" && d=$d.$me ;; esac # once this is told, the next script may have its name
  locked "$session/pipe" tell
  case $d in "$session"/*) rm -rf "$d" ;; esac
  exit 0
}
find_program() { # NAME PATH: is there one to run
  case $1 in
  */*) if [ ! -e "$1" ]; then fail ENOENT "$3"; elif [ -d "$1" ] || [ ! -x "$1" ]; then fail EACCES "$3"; fi ;;
  *)
    IFS=:
    for one in $2; do [ ! -x "${one:-.}/$1" ] || [ -d "${one:-.}/$1" ] || { unset IFS; return; }; done
    unset IFS
    say rc 127
    fail ENOENT "$3"
    ;;
  esac
}
launch() { # SECONDS (0: no limit) STDIN program arguments: as a group of its own; `prepare` says where and with what
  limit=$1 from=$2
  shift 2
  mkfifo "$d/o" "$d/e" || die
  exec 2>/dev/null
  cat <"$d/o" >"$d/out" & one=$!
  cat <"$d/e" >"$d/err" & two=$!
  (
    [ "$from" = /dev/null ] || rm -f "$from"
    umask "$umask_was"
    prepare
    exec ${setsid:+"$setsid"} "$@"
  ) <"$from" >"$d/o" 2>"$d/e" &
  pid=$!
  echo "$pid" >"$d/pid"
  [ ! -e "$d/why" ] || end_group "$pid"
  watcher=
  [ "$limit" = 0 ] || { watch "$limit" "$pid" </dev/null >/dev/null & watcher=$!; }
  while :; do
    { wait "$pid"; rc=$?; jobs -l; } >"$d/note" 2>&1
    [ "$rc" -eq 129 ] && kill -s 0 "$pid" 2>/dev/null || break
  done
  by_signal
  times >"$d/note"
  { read -r words; read -r words; } <"$d/note"
  say cpu "\"$words\""
  drain "$one" "$two"
  if [ -s "$d/why" ]; then
    [ -z "$watcher" ] || wait "$watcher"
    read -r words <"$d/why"
    say why "\"$words\""
    [ "$rc" -le 128 ] || signal=$((rc - 128))
  elif [ -n "$watcher" ]; then kill "$watcher"; fi
  say limit "$limit"
  say signal "$signal"
  say rc "$rc"
  rm -f "$d/o" "$d/e" "$d/note" "$d/pid" "$d/why"
}
by_signal() { # $signal, by what the shell itself says: an exit code above 128 may be the program's own
  signal=0
  [ "$rc" -gt 128 ] || return 0
  while read -r words; do
    case $words in *" $pid Done"*) ;; *" $pid "*) signal=$((rc - 128)) ;; esac
  done <"$d/note"
}
watch() {
  trap 'kill "$sleeper"; exit 0' TERM
  sleep "$1" & sleeper=$!
  wait "$sleeper" || { sleep $((${1%.*} + 1)) & sleeper=$!; wait "$sleeper"; }
  echo ETIMEDOUT >"$d/why"
  end_group "$2"
} 2>/dev/null
drain() { # the two that read its output; who keeps it open, a daemon, holds nobody up
  (sleep "$half"; for one; do finish_copy "$one"; kill "$one"; done) </dev/null >/dev/null 2>&1 & timer=$!
  wait "$1"
  wait "$2"
  kill "$timer"
} 2>/dev/null
finish_copy() { # of what came before the end, where a busy machine gave it no turn: who waits for more has copied all
  patience=600 # a daemon may write without end
  while { read -r words <"/proc/$1/stat"; } 2>/dev/null && [ "$patience" -gt 0 ]; do
    words=${words##*) }
    case $words in [SZX]*) return ;; esac
    sleep "$nap"
    patience=$((patience - 1))
  done
}
abort() { # NAME; one that was sent just before has no folder yet
  patience=0
  folder_of "$1"
  until [ -d "$d" ] || [ "$patience" -ge "$grace" ]; do
    sleep "$nap"
    patience=$((patience + 1))
    folder_of "$1"
  done
  [ -d "$d" ] && ! has_ended || return 0
  echo EINTR >"$d/why"
  read -r words <"$d/pid" && end_group "$words"
} 2>/dev/null

# --- files. `path`, `mode`, `owner`, `group` and the like are set by whoever calls; `check` only predicts

facts_of() { stat -c '%f %h %u %g %s %X %Y %Z %i %d %U %G' ${2:-} "$1"; }
now_is() { # what its attributes are at the end
  [ -e "$1" ] || return 0
  say now "\"$(facts_of "$1" -L)\""
}
hash_of() { # $hash: sha256 of a regular file, or nothing
  hash=
  [ ! -d "$1" ] || fail EISDIR "$is_directory"
  [ ! -f "$1" ] || { hash=$(sha256sum <"$1") || die; hash=${hash%% *}; }
}
ids() { # $uid and $gid of `owner` and `group`
  uid=$owner gid=$group
  case $owner in *[!0-9]*) uid=$(id -u -- "$owner") || fail EINVAL "$no_user" ;; esac
  case $group in
  *[!0-9]*)
    gid=$(getent group "$group" || grep "^$group:" /etc/group)
    gid=${gid#*:*:} gid=${gid%%:*}
    [ -n "$gid" ] || fail EINVAL "$no_group"
    ;;
  esac
}
attrs() { # PATH [link]: sets `changed` where something is or would be other
  ids
  [ -n "$mode$uid$gid" ] || return 0
  deref=-L bare=
  [ "${2:-}" != link ] || { deref= bare=-h; }
  set -- "$1" $(stat -c '%a %u %g' $deref "$1")
  [ "$#" -eq 4 ] || die
  if [ "${uid:-$3}:${gid:-$4}" != "$3:$4" ]; then
    changed=true
    [ -n "$check" ] || chown $bare "${uid:-$3}:${gid:-$4}" "$1" || die
  fi
  [ -n "$mode" ] || return 0
  [ -z "$bare" ] || [ ! -L "$1" ] || return 0
  letter= wish=$mode
  if [ -d "$1" ] || [ $((0$2 & 0111)) -ne 0 ]; then letter=x; fi
  while [ "$wish" != "${wish#*X}" ]; do wish=${wish%%X*}$letter${wish#*X}; done # busybox takes X for none too often
  if [ -n "$check" ]; then
    if [ -d "$1" ]; then mkdir "$d/like"; else : >"$d/like"; fi
    chmod "0$2" "$d/like"
    (umask "$umask_was"; chmod "$wish" "$d/like") || die
    words=$(stat -c %a "$d/like")
    rm -rf "$d/like"
  else
    words=$(stat -c %a $deref "$1") # chown may have taken setuid away
    (umask "$umask_was"; chmod "$wish" "$1") || die
    words=$(stat -c %a $deref "$1")
  fi
  [ "$words" = "$2" ] || changed=true
}
each_below() { # PATH command: for all below it, links not followed
  for one in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    [ -e "$one" ] || [ -L "$one" ] || continue
    "$2" "$one" link
    [ -L "$one" ] || [ ! -d "$one" ] || each_below "$one" "$2"
  done
}
replace() { # FILE by what `content` prints, in one step
  folder=${1%/*}
  temp=$folder/.$(printf %.200s "${1##*/}").ciflow-$nonce
  [ -z "$folders" ] || (umask "$umask_was"; mkdir -p "${folder:-/}") || die
  [ -d "${folder:-/}" ] || fail ENOENT "$no_folder"
  if [ -f "$temp" ] && [ ! -L "$temp" ] && [ -O "$temp" ] && [ "$(stat -c %h "$temp")" -eq 1 ]; then
    rm -f "$temp" # left by an earlier try of the same
  fi
  (set -C; : >"$temp") || { temp=; fail EEXIST "$in_the_way"; }
  content >"$temp" || die
  hash_of "$temp"
  [ "$hash" = "$after" ] || fail EBADMSG "$not_whole"
  if [ -e "$1" ]; then
    set -- "$1" $(stat -L -c '%a %u %g' "$1")
    chown "$3:$4" "$temp" 2>/dev/null
    chmod "0$2" "$temp" || die
  else
    chmod "$(printf %o $((0666 & ~0$umask_was)))" "$temp"
  fi
  attrs "$temp"
  changed=true
  validated "$temp"
  if [ -n "$backup" ] && [ -e "$1" ]; then
    copy=$$.$(date '+%Y-%m-%d@%H:%M:%S')~
    cp -p "$1" "$1.$copy" || die
    say backup "\"$copy\""
  fi
  if [ -z "$unsafe" ] || [ ! -f "$1" ]; then
    mv -f "$temp" "$1" || die
  elif ! mv -f "$temp" "$1" 2>/dev/null; then
    cat "$temp" >"$1" || die
    rm -f "$temp"
    attrs "$1"
  fi
  temp=
}
validated() {
  check_with "$1" >"$d/out" 2>"$d/valid" </dev/null
  rc=$?
  [ "$rc" -ne 0 ] || return 0
  cat "$d/valid" >"$d/err"
  say rc "$rc"
  fail EINVAL "\"validation failed with exit code $rc\""
}
write() {
  if [ -n "$follow" ] && [ -L "$path" ]; then path=$(readlink -f "$path") || die; fi
  if [ -n "$expect" ] && [ -z "$check" ] && [ -d "${path%/*}/" ]; then
    if [ -n "$flock" ]; then locked "${path%/*}/" write_whole; else locked "${session%/*}/expect" write_whole; fi
  else write_whole; fi
  say changed "$changed"
  printf %s "$path" >"$d/out"
  say real true
  now_is "$path"
}
write_whole() {
  changed=false
  hash_of "$path"
  [ -z "$expect" ] || [ "$expect" = "${hash:-absent}" ] || { [ -n "$repeated" ] && [ "$hash" = "$after" ]; } || {
    say status '"refused"'
    say data.before "\"$hash\""
    fail ESTALE "$unexpected"
  }
  [ -n "$follow" ] || [ ! -L "$path" ] || hash=
  say data.before "\"$hash\""
  if [ -n "$hash" ] && [ -z "$force" ]; then say data.after "\"$hash\""; return; fi
  say data.after "\"$after\""
  if [ "$hash" = "$after" ]; then attrs "$path"; return; fi
  changed=true
  [ -z "$check" ] || return 0
  ids
  replace "$path"
}
make_folders() {
  made=$path
  set --
  until [ -e "$made" ] || [ -L "$made" ]; do
    set -- "$made" "$@"
    made=${made%/*}
    [ -n "$made" ] || made=/
  done
  [ -d "$made" ] || fail ENOTDIR "$not_directory"
  changed=false
  if [ "$#" -gt 0 ] && [ -n "$check" ]; then say changed true; return; fi
  [ "$#" -eq 0 ] || changed=true
  for one; do
    (umask "$umask_was"; mkdir "$one") || [ -d "$one" ] || die
    attrs "$one"
  done
  attrs "$path"
  [ -z "$recurse" ] || each_below "$path" attrs
  say changed "$changed"
  now_is "$path"
}
make_temporary() { # PREFIX SUFFIX
  say changed true
  [ -z "$check" ] || return 0
  read -r words </proc/sys/kernel/random/uuid
  words=${words%%-*}
  made=$path/$1$words$2
  if [ "$temporary" = directory ]; then mkdir "$made" || die; else (set -C; : >"$made") || die; fi
  attrs "$made"
  say random "\"$words\""
  now_is "$made"
}
set_times() { # a|m, seconds or "now" or a stamp, X|Y
  [ -n "$2" ] || return 0
  case $2 in
  now) changed=true; [ -n "$check" ] || touch -c "-$1" "$path" || die ;;
  @*)
    words=$(stat -L -c "%$3" "$path")
    [ "@$words" != "${2%.*}" ] || return 0
    changed=true
    [ -n "$check" ] || touch -c "-$1" -d "$2" "$path" || die
    ;;
  *)
    : >"$d/like"
    touch -t "$2" "$d/like" || die
    [ "$(stat -c %Y "$d/like")" != "$(stat -L -c "%$3" "$path")" ] || return 0
    changed=true
    [ -n "$check" ] || touch -c "-$1" -t "$2" "$path" || die
    ;;
  esac
}
set_attrs() {
  changed=false
  attrs "$path" $link
  [ -z "$recurse" ] || [ ! -d "$path" ] || each_below "$path" attrs
  set_times a "$atime" X
  set_times m "$mtime" Y
  say changed "$changed"
  now_is "$path"
}
remove() {
  if [ ! -e "$path" ] && [ ! -L "$path" ]; then say changed false; return; fi
  say changed true
  [ -n "$check" ] || rm -rf "$path" || die
}
make_link() { # TARGET, where it leads to
  if [ ! -e "$2" ]; then [ -z "$hard" ] && [ -n "$force" ] || fail ENOENT "$no_target"; fi
  if [ -L "$path" ] && [ -z "$hard" ]; then
    [ "$(readlink "$path"; echo .)" != "$1$newline." ] || { say changed false; return; }
  elif [ -n "$hard" ] && [ "$path" -ef "$2" ]; then say changed false; return
  elif [ -e "$path" ] && [ -z "$force" ]; then fail EEXIST "$in_the_way"; fi
  say changed true
  [ -z "$check" ] || return 0
  if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" || die; fi
  if [ -n "$hard" ]; then ln -f "$2" "$path" || die; else ln -sfn "$1" "$path" || die; fi
}
look() { # [-L]: what lies at `path`
  if [ ! -e "$path" ] && { [ -n "$1" ] || [ ! -L "$path" ]; }; then say exists false; return; fi
  say exists true
  say now "\"$(facts_of "$path" $1)\""
  words=
  [ ! -r "$path" ] || words=${words}r
  [ ! -w "$path" ] || words=${words}w
  [ ! -x "$path" ] || words=${words}x
  say may "\"$words\""
  if [ -z "$1" ] && [ -L "$path" ]; then readlink -n "$path"; printf '\0'; readlink -n -f "$path"; fi >"$d/out"
}
read_file() { # OFFSET LENGTH LIMIT
  [ -e "$path" ] || fail ENOENT "$no_file"
  [ ! -d "$path" ] || fail EISDIR "$is_directory"
  [ -r "$path" ] || fail EACCES "$no_file"
  n=$(stat -L -c %s "$path") || die
  say size "$n"
  most=$2
  [ "$2" -ne 0 ] || { most=$(($3 + 1)); [ $((n - $1)) -le "$3" ] || fail EFBIG "$too_large"; }
  tail -c +$(($1 + 1)) "$path" | head -c "$most" >"$d/out"
}
port_open() { # HOST PORT: of this machine, by the kernel's table; of another by nc or bash
  case $1 in
  127.0.0.1 | localhost | ::1) listens "$2"; return ;;
  esac
  if [ -n "$bash" ]; then
    "$bash" -c 'exec 3<>"/dev/tcp/$1/$2"' sh "$1" "$2" & one=$!
    (sleep "$patience"; kill "$one") >/dev/null & two=$!
    wait "$one"
    set -- $?
    kill "$two"
    return "$1"
  fi
  nc -z -w "$patience" "$1" "$2" </dev/null
} 2>/dev/null
not() { ! "$@"; }
listens() { with_state "$1" '0A'; }
in_use() { with_state "$1" '0[!A67]'; } # neither listening nor over (Linux's tcp.h)
with_state() { # PORT PATTERN: whether the kernel has such a connection
  hex=$(printf %04X "$1")
  while read -r words more other state words; do
    case $more:$state in *:"$hex":$2) return 0 ;; esac
  done <<LIST
$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
LIST
  return 1
}
wait_until() { # SECONDS PAUSE condition: in hundredths; nobody waits for whoever is gone
  read -r words more </proc/uptime
  until_then=$((${words%.*} * 100 + 1${words#*.} - 100 + $1)) pause=$2
  shift 2
  while [ -d "$d" ] && [ ! -e "$d/why" ]; do
    if "$@"; then say met true; return; fi
    read -r words more </proc/uptime
    [ $((${words%.*} * 100 + 1${words#*.} - 100)) -lt "$until_then" ] || { say met false; return; }
    sleep "$pause" || sleep 1
  done
  fail EINTR '"ended by the operator"'
}

# --- the beginning

flock=$(command -v flock) setsid=$(command -v setsid) bash=$(command -v bash)
nap=0.05 half=0.5 grace=40
sleep 0.01 2>/dev/null || { nap=1 half=1 grace=2; }
read -r me words </proc/self/stat
birth "$me" && since=$born
uid=$(id -u)
home=$HOME
[ -n "$home" ] && [ -O "$home" ] || while IFS=: read -r words one one_uid two more home words; do
  [ "$one_uid" != "$uid" ] || break
done </etc/passwd
here=$(pwd)
base=
for place in "$home/.local/state/ciflow" "/var/tmp/ciflow-$uid"; do
  case $place in //*) continue ;; esac
  if folder_of_ours "$place"; then base=$place; break; fi
done
session=
namespace=$(readlink /proc/self/ns/pid)
name=ciflow-sh-$(echo "$namespace" | tr -cd 0-9)
for place in /dev/shm "$base" /var/tmp /tmp; do
  [ -n "$place" ] && mkdir "$place/$name-$me-$since" 2>/dev/null || continue
  session=$place/$name-$me-$since
  echo >"$session/pipe" 2>/dev/null && break
  rm -rf "$session"
  session=
done
raw=
one=$(printf abcdef | { dd bs=2 count=1 iflag=fullblock >/dev/null 2>&1; cat; }) 2>/dev/null
[ "$one" != cdef ] || raw=yes
exec 8>&2 2>/dev/null # kept open: containerd closes the standard input of an exec as soon as one of its outputs ends
run= project= identity= mine= repeated=
missing=
for one in mkfifo head tail stat sha256sum readlink; do command -v "$one" >/dev/null || missing="$missing $one"; done
boot=; read -r boot </proc/sys/kernel/random/boot_id
pod=; [ ! -e /var/run/secrets/kubernetes.io ] || pod=$HOSTNAME
booted=0
while read -r one words; do [ "$one" != btime ] || booted=$words; done </proc/stat
birth 1
printf '%s-hello\nh\n' "$mark"
printf '%s\n' "$me" "$uid" "$(id -un)" "$(id -G)" "$home" "$base" "${session:-none}" "${raw:-no}" "$missing" \
  "$boot" "$namespace" "$born" "$pod" "$booted"
cat /proc/1/cgroup
echo .
[ -n "$session" ] || exit 1
for one in "$place/$name"-*; do # of agents that were killed
  two=${one#"$place/$name"-}
  [ ! -O "$one" ] || { birth "${two%-*}" && [ "$born" = "${two#*-}" ]; } || rm -rf "$one"
done
while read -r verb id one two three; do
  case $verb in
  b) locked "$session/pipe" echo b ;;
  begin) begin "$id" "$one" "$two" "$(printf %b "$three")" ;;
  j) start "$one" "$two" "$three" </dev/null 8>&- & ;;
  a) asked "$one" "$two" </dev/null 8>&- & ;;
  k) abort "$one" </dev/null >/dev/null 8>&- & ;;
  l) locked "$session/pipe" tell_live "$one" "$two" "$three" ;;
  u) amount "${run:-$session}/up-$one"; locked "$session/pipe" echo "g $id $n" ;;
  p) dd bs="$two" count=1 iflag=fullblock | cat >>"${run:-$session}/up-$one"; locked "$session/pipe" echo "w $id $two" ;;
  o) printf %b "$three" >>"${run:-$session}/up-$one"; locked "$session/pipe" echo "w $id $two" ;;
  f) (cd "$run" && rm -rf $one $two $three) ;;
  esac
done
# The controller is gone: what only looks ends, what is in hand goes on.
for one in "$session"/[0-9]*; do [ ! -d "$one" ] || echo EINTR >"$one/why"; done
wait
[ -z "$base" ] || find "$base"/*/runs/* -prune -mtime +7 -exec rm -rf {} \;
rm -rf "$session"
exit 0
