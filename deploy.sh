#!/usr/bin/env bash
# The platform's one command. It makes the virtual environment and hands over to `ecommerce-dw platform`.
set -euo pipefail

readonly NEEDED_MB=2000 # the environment takes 0.9 GB, the sample and its warehouse about 0.5 GB
# What a release consists of (./deploy.sh prod): all that runs.
readonly RELEASE_PARTS=(airflow data-generation dbt infrastructure deploy.sh pyproject.toml requirements.lock
    README.md LICENSE .env.example docker-compose.yml .dockerignore)

main() {
    find_project
    local command=${1:-} argument
    case $command in
        "" | -h | --help | help)
            usage
            [ -n "$command" ] || exit 2
            exit 0
            ;;
        dev | prod | stop | status | env | run | psql | logs | certificates | backup | restore | test | reset) shift ;;
        *)
            usage >&2
            die "There is no command '$command'." 2
            ;;
    esac
    if wants_help "$command" "$@"; then
        "help_$command"
        exit 0
    fi
    isolate
    find_home
    if [ "$command" != test ]; then
        # shellcheck source=infrastructure/containers.sh
        . "$project/infrastructure/containers.sh"
        if runs_containers || { [[ $command = dev || $command = prod ]] && has_word --containers "$@"; }; then
            in_containers "$command" "$@"
            exit
        fi
    fi
    if [ "$command" = dev ]; then
        for argument in "$@"; do
            case $argument in --with | --with=*)
                die "--with is for containers: ./deploy.sh dev --containers ${argument%%=*} …" 2
                ;;
            esac
        done
    fi
    choose_release "$command" "$@"
    case $command in
        dev | test | prod) ensure_environment ;;
        restore) has_program || ensure_environment ;; # onto a new machine, too
        stop)
            if ! has_program; then
                echo "Nothing runs: there is no environment in $home."
                exit 0
            fi
            ;;
        *) has_program || die "There is no environment in $home yet. Run ./deploy.sh dev first." ;;
    esac
    exec "$venv/bin/ecommerce-dw" platform "$command" "$@"
}

# --- help ----------------------------------------------------------------------------------------------

usage() {
    cat <<'TEXT'
Usage: ./deploy.sh COMMAND [OPTIONS]        (./deploy.sh COMMAND --help tells more)

  dev           From a fresh clone to a running platform with results
  prod          Into production: preflight, migrate, roll, smoke test; back when something fails
  stop          Stop everything
  status        Is it all right? What runs, and the state of the warehouse in ten lines
  env           Print the shell variables for airflow, dbt, psql, ecommerce-dw:  eval "$(./deploy.sh env)"
  run           Run one command in that environment
  psql          PostgreSQL's shell on the warehouse
  logs          Show the logs of a component
  certificates  Make or renew the certificates of the database servers' TLS
  backup        Write a backup: the warehouse, Airflow's metadata, the journal of decisions
  restore       Put a backup in place, after it is proved
  test          Lint, type checks and tests
  reset         Stop, and delete the data this platform made

Everything is made under var/ of the checkout, or under ECOMMERCE_DW_HOME.
Settings come from the environment, then from the file .env; .env.example explains each.
TEXT
}

help_dev() {
    cat <<'TEXT'
Usage: ./deploy.sh dev [OPTIONS]

From a fresh clone to a running platform: virtual environment, embedded PostgreSQL, Airflow, sample data,
one run of the pipeline through the scheduler, and a summary. Safe to interrupt and to run again: what is
done is not done twice. On a later day it adds the missing days to the sample and runs the pipeline on them.

  --days N        Days of the sample (default 730)
  --end DATE      Last day of the sample, YYYY-MM-DD (default: yesterday, UTC)
  --scale S       Size of the sample shop; 1 is about 27 orders a day (default 1)
  --seed N        Another seed is another shop (default 42)
  --source NAME   ecommerce (the sample, default), online_retail, or all
  --landing DIR   Landing folder of the chosen source, or s3://bucket/prefix; remembered for later commands and
                  for the scheduler
  --no-ui         Without the web UI and the public REST API
  --workers N     Celery workers run the tasks, in place of the scheduler (needs a redis-server on PATH)
  --containers    The same as containers (docker-compose.yml), by Docker or Podman with compose; needs no Python.
                  Remembered for the other commands, until reset. Here --workers is how many there are (1).
  --with LIST     With --containers, remembered likewise: monitoring (Prometheus and Grafana with dashboards), mail
                  (an inbox for the alerts, for tests), both separated by a comma, or none

Ports in use: set WAREHOUSE_PORT (5433) or AIRFLOW_PORT (8080). For development: the login is admin/admin,
and everything listens on 127.0.0.1 alone.
TEXT
}

help_prod() {
    cat <<'TEXT'
Usage: ./deploy.sh prod [OPTIONS]

Deploys this checkout as it is. A copy of it becomes a release in <home>/releases, with an environment of its own.
Then: a preflight that lists everything wrong at once, and changes nothing when something is; migrations, which
are additive; every component started from the release, one after the other, each healthy before the next, with
tasks let finish; a smoke test: a small run into a database of its own. When a step fails, every component goes
back to the release before. Again, without changes, it starts what is down. Settings: .env, or the environment.

  --check            The preflight alone: exit code 0 when nothing stands against a deployment
  --json             Findings, or what was done, for machines
  --rollback         Back to the release before (<home>/previous): its code, on the tables as they are
  --upgrade-airflow  When another Airflow comes with the release: standstill, backup of its metadata to
                     BACKUP_DIR, migration. There is no rollback from it but that backup
  --containers       The same as containers (docker-compose.yml): a release is its files and an image of its own; workers
                     end their tasks before they are replaced. Remembered for the other commands
  --workers N        With --containers: how many workers (1)
  --with LIST        With --containers, as with dev: monitoring, mail, none

docs/production.md tells more.
TEXT
}

help_stop() {
    cat <<'TEXT'
Usage: ./deploy.sh stop

Stops Airflow's processes, then the embedded PostgreSQL; or the containers. Data stays; ./deploy.sh dev (or prod,
where that is what ran) goes on from there.
An external PostgreSQL is left running.
TEXT
}

help_status() {
    cat <<'TEXT'
Usage: ./deploy.sh status [--json]

Is it all right? The first line says OK, or ATTENTION and why. Then: what runs; how fresh each source is; the
last run and publication; the newest day's rows against the usual; refused files and rejected rows that nobody
settled; open incidents with their age; the next run; sizes. Of containers: the pages of monitoring and mail.
Exit code 0 when everything runs and nothing needs a person, 1 otherwise.

  --json   Everything for machines: process ids, ports, sizes of the databases, the last runs, too
TEXT
}

help_env() {
    cat <<'TEXT'
Usage: eval "$(./deploy.sh env)"

Prints shell commands that make these work in the current shell, on the running platform (variables; where it
runs as containers, functions that call ./deploy.sh run):
  airflow dags test ecommerce_etl_pipeline 2026-01-31
  dbt build
  psql -c 'select * from marts.sales_summary limit 5'
  ecommerce-dw status
TEXT
}

help_run() {
    cat <<'TEXT'
Usage: ./deploy.sh run COMMAND [ARGUMENTS]

Runs one command in the environment that ./deploy.sh env describes, in the current folder (where the platform
runs as containers: in one of them, in the project's folder):
  ./deploy.sh run airflow dags test ecommerce_etl_pipeline 2026-01-31
  ./deploy.sh run ecommerce-dw rejects
TEXT
}

help_psql() {
    cat <<'TEXT'
Usage: ./deploy.sh psql [ARGUMENTS OF psql]

Opens psql on the warehouse as its owner. -U loader, -U transformer or -U analyst (read-only) log in as
those, without asking for a password:
  ./deploy.sh psql -c 'select * from marts.customer_summary limit 5'
TEXT
}

help_logs() {
    cat <<'TEXT'
Usage: ./deploy.sh logs [COMPONENT] [-f] [-n LINES]

COMPONENT is postgres, api-server, scheduler, dag-processor, triggerer, or with workers redis and worker-1, …
(worker, with containers, and there statsd-exporter, metrics, prometheus, grafana, mailpit); all of them when
left out.

  -f, --follow    Keep showing what is added, until Ctrl-C
  -n, --lines N   Lines to begin with (default 50)
TEXT
}

help_certificates() {
    cat <<'TEXT'
Usage: ./deploy.sh certificates [DIR] [OPTIONS]

Makes or renews the certificates for the TLS of a PostgreSQL of your own, in DIR (default: certificates in the home),
and says what to do with them. The embedded server has no TLS and listens on 127.0.0.1 alone.

With containers the servers have certificates from the first start on; this renews them, and the running servers take
the new one: sessions go on. DIR and --host are not for there. What clients on this machine check the server by:

  ./deploy.sh run cat /var/lib/ecommerce-dw/certificates/authority.crt > authority.crt

  --host NAME             What clients know the server by; more than once. Once made, it is for the same again
  --days N                How long it lasts (default 397)
  --new-authority         A new authority beside the old one: clients trust both
  --drop-old-authority    Clients no longer trust the old one. In between comes a call without either, for a
                          certificate by the new one
TEXT
}

help_backup() {
    cat <<'TEXT'
Usage: ./deploy.sh backup [DIR] [--json]

Writes a backup of the warehouse's database, Airflow's metadata and the journal of decisions to DIR, a folder that is
not there yet (default: a new dated one in BACKUP_DIR). Loads may go on meanwhile: the backup is of one moment. What
builds or publishes waits. It bears its name when it is whole; what an interrupted one left is removed by the next.

Not in it: the landing zone, which is the archive; and secrets. Keep .env with its passwords, and secrets.json of the
home: what Airflow has encrypted (its connections) is read with the Fernet key in it.

  --json   What was written, for machines
TEXT
}

help_restore() {
    cat <<'TEXT'
Usage: ./deploy.sh restore DIR [--yes] [--drop-old]

Puts a backup in place. The platform has to be stopped (./deploy.sh stop). A damaged backup is refused, and one of a
later version of the project, of Airflow or of PostgreSQL. It goes into databases beside, where every table's
fingerprint has to be the backup's; an older one is then migrated to this version; and only then it is put in place by
renaming. Until then nothing changes. The journal of decisions gets what it does not have, and loses nothing.

  --yes        Really replace the databases that are there
  --drop-old   Drop what was replaced; otherwise it is kept as <database>_before_<time>
TEXT
}

help_test() {
    cat <<'TEXT'
Usage: ./deploy.sh test [--all | --long] [ARGUMENTS OF pytest]

Lint (ruff, sqlfluff, shellcheck), types (mypy), dbt parse with deprecations as errors, generated files
current, then pytest. It uses free ports and folders of its own, so a running platform is not disturbed.

  --all    The slow tests too
  --long   Every test, the long ones too

With arguments of pytest (./deploy.sh test tests/unit -k money) only pytest runs.
TEXT
}

help_reset() {
    cat <<'TEXT'
Usage: ./deploy.sh reset --yes

Stops the platform and deletes what it made: databases, sample data, Airflow's home, logs. The virtual
environment stays. Of containers: their volumes. Landing folders given by --landing or LANDING_<SOURCE> and an external PostgreSQL are
not touched.
TEXT
}

# Whether help is asked for. What follows `run` and `psql` belongs to the program they start.
wants_help() {
    local command=$1 argument
    shift
    case $command in
        run | psql)
            [ "${1:-}" = --help ] || { [ "$command" = run ] && [ "${1:-}" = -h ]; }
            return
            ;;
    esac
    for argument in "$@"; do
        case $argument in -h | --help) return 0 ;; esac
    done
    return 1
}

has_word() {
    local word=$1 argument
    shift
    for argument in "$@"; do
        [ "$argument" != "$word" ] || return 0
    done
    return 1
}

# --- where things are ------------------------------------------------------------------------------------

die() {
    printf 'deploy.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

find_project() {
    local file=${BASH_SOURCE[0]} folder
    while [ -L "$file" ]; do
        folder=$(cd -P -- "$(dirname -- "$file")" && pwd)
        file=$(readlink -- "$file")
        [[ $file = /* ]] || file=$folder/$file
    done
    project=$(cd -P -- "$(dirname -- "$file")" && pwd)
}

# A setting: from the environment, else from .env.
setting() {
    local name=$1 value=${!1:-}
    if [ -z "$value" ] && [ -f "$project/.env" ]; then
        value=$(sed -n "s/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}${name}[[:space:]]*=[[:space:]]*//p" \
            "$project/.env" | tail -n 1 | sed -e 's/[[:space:]]*$//' -e "s/^'\(.*\)'\$/\1/" -e 's/^"\(.*\)"$/\1/')
    fi
    printf '%s' "$value"
}

# Another Airflow's, PostgreSQL's or Python's variables must not reach ours.
isolate() {
    local name
    for name in $(compgen -e); do
        case $name in
            AIRFLOW__* | AIRFLOW_HOME | AIRFLOW_CONFIG | PG[A-Z]* | DBT_* | PYTHONPATH | PYTHONHOME | \
                PYTHONSTARTUP | PYTHONDONTWRITEBYTECODE | VIRTUAL_ENV)
                unset "$name"
                ;;
        esac
    done
}

find_home() {
    home=$(setting ECOMMERCE_DW_HOME)
    home=${home:-var}
    case $home in
        [~]) home=$HOME ;;
        [~]/*) home=$HOME/${home#??} ;;
        /*) ;;
        *) home=$project/$home ;; # a relative folder counts from the checkout, wherever we were called
    esac
    mkdir -p -- "$home" 2>/dev/null || true
    [ -w "$home" ] ||
        die "The folder $home can't be made or written. Set ECOMMERCE_DW_HOME to one that can."
    home=$(cd -P -- "$home" && pwd)
    venv=$home/venv
    export ECOMMERCE_DW_HOME=$home
    # Compiled files belong under the home, not beside the sources.
    export PYTHONPYCACHEPREFIX=$home/cache/python
}

# --- releases --------------------------------------------------------------------------------------------

# In a production home the program is the deployed release's; `prod` makes a release, or goes back to one.
choose_release() {
    local command=$1 argument
    shift
    case $command in
        test) ;;
        prod)
            for argument in "$@"; do
                [ "$argument" = --rollback ] || continue
                [ -L "$home/previous" ] || die "There is no release before the current one in $home."
                project=$(cd -P -- "$home/previous" && pwd)
                venv=$project/venv
                return
            done
            make_release
            ;;
        *)
            [ -L "$home/current" ] || return 0
            [ "$command" != dev ] ||
                die "$home is a production installation. Set ECOMMERCE_DW_HOME to another folder for development."
            venv=$(cd -P -- "$home/current" && pwd)/venv
            ;;
    esac
}

# The same files make the same release, so a deployment that is run again goes on with it.
make_release() {
    local version name building
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$project/pyproject.toml")
    name=$version-$(cd -- "$project" && release_files | xargs -0 cksum | sha256sum | cut -c 1-10)
    release=$home/releases/$name
    if [ ! -d "$release" ]; then
        building=$home/releases/.$name.$$
        mkdir -p -- "$building"
        (cd -- "$project" && release_files | tar --null --files-from=- -cf -) | tar -C "$building" -xf -
        mv -T -- "$building" "$release" 2>/dev/null || rm -rf -- "$building" # another one was quicker
    fi
    # Settings stay with the checkout: they are the same for every release.
    [ "$project" -ef "$release" ] || ln -sfn -- "$project/.env" "$release/.env"
    project=$release
    venv=$release/venv
}

release_files() {
    find "${RELEASE_PARTS[@]}" \( -name __pycache__ -o -path dbt/target -o -path dbt/logs \) -prune \
        -o -type f -print0 | LC_ALL=C sort -z
}

has_program() {
    [ -x "$venv/bin/python" ] && [ -x "$venv/bin/ecommerce-dw" ]
}

# --- the virtual environment -----------------------------------------------------------------------------

# Made anew when the lock, pyproject.toml, its place or the checkout's place changed. The stamp is written
# last, so an interrupted installation is seen and done again.
ensure_environment() {
    local wanted
    wanted=$(
        cd -- "$project"
        cksum requirements.lock pyproject.toml
        printf '%s\n' "$project" "$venv"
    )
    is_current "$wanted" && return
    exec 9>"$home/environment.lock"
    find_python
    # The lock belongs to the open file, which we keep after this little program has ended.
    if ! "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null; then
        echo "Another ./deploy.sh is making the environment; waiting for it …" >&2
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    fi
    if ! is_current "$wanted"; then
        trap 'echo "deploy.sh: Interrupted. Run it again: it goes on from here." >&2; exit 130' INT TERM
        make_environment
        printf '%s' "$wanted" >"$venv/.complete"
        trap - INT TERM
    fi
    exec 9>&-
}

is_current() {
    has_program && [ -f "$venv/.complete" ] && [ "$(cat "$venv/.complete")" = "$1" ]
}

find_python() {
    local candidate wanted
    wanted=$(setting PYTHON)
    for candidate in ${wanted:+"$wanted"} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            python=$(command -v -- "$candidate")
            return
        fi
        [ -z "$wanted" ] ||
            die "PYTHON is set to '$wanted', which does not run or is not Python 3.11 to 3.14."
    done
    die "No Python 3.11 to 3.14 was found. Install one, or set PYTHON to its path."
}

make_environment() {
    local free started=$SECONDS uv
    free=$(df -Pm -- "$home" | awk 'NR == 2 {print $4}')
    [ "$free" -ge "$NEEDED_MB" ] ||
        die "$free MB are free at $home, $NEEDED_MB are needed. Free some, or set ECOMMERCE_DW_HOME."
    if [ -f "$venv/.complete" ] && has_program; then
        # Programs must not run while what they run on is exchanged.
        "$venv/bin/ecommerce-dw" platform stop --quiet || true
    fi
    echo "Making the virtual environment in $venv (once; downloads about 315 MB) …" >&2
    if [ ! -f "$venv/.complete" ] || ! [ -x "$venv/bin/python" ]; then
        rm -rf -- "$venv"
    fi
    rm -f -- "$venv/.complete"
    if [ "$(setting INSTALLER)" = pip ]; then
        make_venv
        "$venv/bin/python" -m pip install --quiet --require-hashes -r "$project/requirements.lock" ||
            could_not_install
        "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e "$project" ||
            could_not_install
    else
        uv=$(command -v uv || true)
        if [ -n "$uv" ]; then
            [ -x "$venv/bin/python" ] || "$uv" venv --quiet --python "$python" "$venv" || could_not_install
        else
            make_venv
            uv=$venv/bin/uv
            [ -x "$uv" ] || install_uv
        fi
        use_pip_configuration
        "$uv" pip sync --python "$venv/bin/python" --require-hashes --quiet "$project/requirements.lock" ||
            could_not_install
        "$uv" pip install --python "$venv/bin/python" --no-deps --no-build-isolation --quiet -e "$project" ||
            could_not_install
    fi
    echo "The virtual environment is ready ($((SECONDS - started)) s)." >&2
}

make_venv() {
    [ ! -x "$venv/bin/python" ] || return 0
    local output
    if ! output=$("$python" -m venv "$venv" 2>&1); then
        rm -rf -- "$venv"
        printf '%s\n' "$output" >&2
        die "$python can't make virtual environments. On Debian and Ubuntu install the package python3-venv
(as root: apt install python3-venv); or install uv; or set PYTHON to another Python. Then run again."
    fi
}

# uv installs many times quicker than pip. Its version and hashes come from the lock like all others.
install_uv() {
    local pinned=$venv/uv.lock
    awk '/^uv==/ {on = 1} on {print; if ($0 !~ /\\$/) exit}' "$project/requirements.lock" >"$pinned"
    "$venv/bin/python" -m pip install --quiet --require-hashes -r "$pinned" || could_not_install
}

# uv does not read pip's configuration; who has configured pip meant any installer.
use_pip_configuration() {
    local index extra links certificates
    [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_INDEX:-}" ] || return 0
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || return 0
    index=$(pip_setting index-url)
    extra=$(pip_setting extra-index-url)
    links=$(pip_setting find-links)
    certificates=$(pip_setting cert)
    [ -z "$index" ] || export UV_DEFAULT_INDEX=$index
    [ -z "$extra" ] || export UV_INDEX=$extra
    [ -z "$links" ] || [ -n "${UV_FIND_LINKS:-}" ] || export UV_FIND_LINKS=${links// /,}
    [ -z "$certificates" ] || [ -n "${SSL_CERT_FILE:-}" ] || export SSL_CERT_FILE=$certificates
}

# The environment's value wins over the configuration files', as in pip itself.
pip_setting() {
    local variable=PIP_${1//-/_}
    variable=$(printf '%s' "$variable" | tr '[:lower:]' '[:upper:]')
    if [ -n "${!variable:-}" ]; then
        printf '%s' "${!variable}"
    else
        "$venv/bin/python" -m pip config get "global.$1" 2>/dev/null ||
            "$venv/bin/python" -m pip config get "install.$1" 2>/dev/null || true
    fi | tr '\n' ' ' | sed 's/ *$//'
}

could_not_install() {
    die "The packages could not be installed; the message above says why. Usual causes: no network, a proxy
that is not set (HTTPS_PROXY), no disk space ($(df -Pm -- "$home" | awk 'NR == 2 {print $4}') MB are free at $home).
What was downloaded is kept. Run again when it is mended; INSTALLER=pip uses pip in place of uv."
}

main "$@"
