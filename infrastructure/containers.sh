# shellcheck shell=bash
# The platform as containers: what deploy.sh does in place of its own processes after `dev --containers` and
# `prod --containers`. deploy.sh sources it; the mode is remembered in $home/mode.
# shellcheck disable=SC2154 # project, home, venv and release are set there

# Where the caller is, and what else a container of our own is started with.
caller_folder=$PWD
tool_options=()

readonly keys="airflow_db_password airflow_fernet_key airflow_jwt_secret airflow_api_secret_key redis_password
    monitor_password"
readonly servers="warehouse airflow-db redis"
# In the order in which they are rolled: workers last, because they end the tasks they have, for which the others
# have to be there.
readonly airflow_services="airflow-apiserver airflow-scheduler airflow-dag-processor airflow-triggerer airflow-worker"

runs_containers() {
    [ "$(cat -- "$home/mode" 2>/dev/null)" = containers ]
}

in_containers() {
    local command=$1
    shift
    find_compose
    export ECOMMERCE_DW_HOME=$home
    export BUILDAH_FORMAT=docker # podman's own format leaves health checks out
    if [ "$command" = dev ] && is_production; then
        die "$home is a production installation. Set ECOMMERCE_DW_HOME to another folder, and COMPOSE_PROJECT_NAME to
another name, for development."
    fi
    profiles=$(setting COMPOSE_PROFILES)
    profiles=${profiles:-dev}
    choose_profiles "$(chosen)"
    # In production what answers is the release in service, not the checkout, which is what comes next.
    if [ "$command" != prod ] && is_production; then use_release "$(release_behind current)"; fi
    cd -- "$project" || exit
    "${command}_containers" "$@"
}

# --- commands ------------------------------------------------------------------------------------------------

dev_containers() {
    local workers exporter scheduler with=() arguments=()
    workers=$(setting AIRFLOW_WORKERS)
    while [ $# -gt 0 ]; do
        case $1 in
            --containers) ;;
            --workers) shift && workers=${1:-} ;;
            --workers=*) workers=${1#*=} ;;
            --with) shift && with=("${1:-}") ;;
            --with=*) with=("${1#*=}") ;;
            --landing | --landing=* | --no-ui)
                die "${1%%=*} is for the platform without containers. Containers take files from the folder in
LANDING_ROOT (see .env.example), and always serve the UI." 2
                ;;
            *) arguments+=("$1") ;;
        esac
        shift
    done
    case ${workers:=1} in *[!0-9]* | 0) die "--workers takes a number from 1 on." 2 ;; esac
    if [ ${#with[@]} -gt 0 ]; then
        remember_with "${with[0]}"
    fi
    if has_program; then
        "$venv/bin/ecommerce-dw" platform stop --quiet # it has the ports
    fi
    write_secrets dev
    write_settings
    printf containers >"$home/mode"
    "${compose[@]}" build init
    exporter=$(container_of statsd-exporter)
    scheduler=$(container_of airflow-scheduler)
    start_beside
    "${compose[@]}" up --detach --remove-orphans airflow-apiserver
    "${compose[@]}" up --detach --no-deps airflow-scheduler airflow-dag-processor airflow-triggerer
    "${compose[@]}" up --detach --no-deps --scale "airflow-worker=$workers" airflow-worker
    start_metrics "$exporter" "$scheduler"
    in_tool ecommerce-dw platform dev "${arguments[@]}"
    show_beside
}

prod_containers() {
    local check='' rollback='' upgrade='' workers with=() target before
    workers=$(setting AIRFLOW_WORKERS)
    while [ $# -gt 0 ]; do
        case $1 in
            --containers) ;;
            --check) check=yes ;;
            --rollback) rollback=yes ;;
            --upgrade-airflow) upgrade=yes ;;
            --workers) shift && workers=${1:-} ;;
            --workers=*) workers=${1#*=} ;;
            --with) shift && with=("${1:-}") ;;
            --with=*) with=("${1#*=}") ;;
            *) die "prod --containers takes --check, --rollback, --upgrade-airflow, --workers and --with, and no $1." 2 ;;
        esac
        shift
    done
    case ${workers:=1} in *[!0-9]* | 0) die "--workers takes a number from 1 on." 2 ;; esac
    before=$(release_behind current)
    if [ -n "$before" ] && ! runs_containers; then
        die "$home is a production installation without containers. Set ECOMMERCE_DW_HOME to another folder."
    fi
    if [ ${#with[@]} -gt 0 ]; then
        remember_with "${with[0]}"
    fi
    if [ -n "$rollback" ]; then
        target=$(release_behind previous)
        [ -n "$target" ] || die "There is no release before the current one in $home."
    else
        make_release
        target=$release
    fi
    use_release "$target"
    cd -- "$target" || exit
    if [ -n "$rollback" ]; then
        [ "$(metadata_revision)" = "$(cat -- "$target/metadata-revision")" ] ||
            die "$(basename -- "$target") can't run on Airflow's metadata any more: another Airflow was deployed since.
Nothing was changed. $(restore_advice)"
    fi
    write_secrets prod
    write_settings
    "${compose[@]}" build init
    if [ -z "$rollback" ]; then
        preflight "$check" "$upgrade"
        [ -z "$check" ] || return 0
    fi
    printf containers >"$home/mode"
    if bring_up "$workers" "$upgrade" "$before"; then
        put_in_service "$target" "$before"
        show_beside
    else
        go_back "$target" "$before" "$workers"
        return 1
    fi
}

stop_containers() {
    choose_profiles monitoring,mail # whoever started them
    if ! has_running; then
        echo "Nothing was running."
        return
    fi
    "${compose[@]}" down --remove-orphans --timeout 20
    echo "Stopped. Data stays in the volumes."
}

reset_containers() {
    ! is_production ||
        die "$home is a production installation, and reset deletes data. Nothing was changed. When that is meant:
${compose[*]} down --volumes in $project, then delete $home yourself."
    [ "${1:-}" = --yes ] ||
        die "This deletes the containers' volumes (databases, landing zone, logs). Say so with ./deploy.sh reset --yes."
    choose_profiles monitoring,mail # their volumes, too, when they are off now
    "${compose[@]}" down --remove-orphans --volumes --timeout 20
    rm -rf -- "$home/containers" "$home/mode"
    echo "Deleted. ./deploy.sh dev starts over, with containers or without."
}

status_containers() {
    local code=0
    if has_running; then
        in_tool ecommerce-dw platform status "$@" || code=$?
        [ "${1:-}" = --json ] || show_beside
        return "$code"
    elif [ "${1:-}" = --json ]; then
        echo '{"is_ok": false, "problems": ["nothing runs"], "is_healthy": false, "components": {}}'
        return 1
    else
        echo "ATTENTION  nothing runs: ./deploy.sh dev --containers starts it"
        return 1
    fi
}

psql_containers() {
    need_running
    in_tool ecommerce-dw platform psql "$@"
}

run_containers() {
    need_running
    in_tool ecommerce-dw platform run "$@"
}

# A folder that is named is one of this machine: the one it lies in is mounted. User 50000 has to be able to write there.
backup_containers() {
    local folder='' options=() parent said
    need_running
    take_folder "$@"
    if [ -z "$folder" ]; then
        in_tool ecommerce-dw platform backup "${options[@]}"
    else
        parent=$(dirname -- "$folder")
        [ -d "$parent" ] || die "There is no folder $parent."
        tool_options=(--volume "$parent:/backup-target")
        said=$(in_tool ecommerce-dw platform backup "/backup-target/$(basename -- "$folder")" "${options[@]}") || exit
        printf '%s\n' "${said//\/backup-target/"$parent"}"
    fi
}

restore_containers() {
    local folder='' options=() service was_up status=0
    take_folder "$@"
    [ -n "$folder" ] || die "Which backup? ./deploy.sh restore DIR" 2
    [ -d "$folder" ] || die "There is no folder $folder."
    for service in $airflow_services; do
        [ -z "$(container_of "$service")" ] || die "The platform runs ($service). Nothing was changed. Stop it first: ./deploy.sh stop."
    done
    was_up=$(container_of warehouse)
    with_servers true
    tool_options=(--volume "$folder:/restored:ro")
    in_tool ecommerce-dw platform restore /restored "${options[@]}" || status=$?
    [ -n "$was_up" ] || "${compose[@]}" down --timeout 20
    return "$status"
}

# Sets the caller's `folder` and `options`.
take_folder() {
    local argument
    for argument in "$@"; do
        case $argument in
            -*) options+=("$argument") ;;
            *) folder=$(caller_path "$argument") ;;
        esac
    done
}

# A path as the caller meant it: we have gone to the project's folder since.
caller_path() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$caller_folder" "$1" ;;
    esac
}

# The programs are in the image, so the shell gets functions of their names.
env_containers() {
    local name
    for name in airflow dbt psql ecommerce-dw; do
        printf "%s() { '%s/deploy.sh' run %s \"\$@\"; }\n" "$name" "${project//\'/\'\\\'\'}" "$name"
    done
}

# The names in the certificate are the services', so DIR and --host are not for here.
certificates_containers() {
    local options=() server
    while [ $# -gt 0 ]; do
        case $1 in
            --new-authority | --drop-old-authority | --days=*) options+=("$1") ;;
            --days) options+=("$1" "${2:-}") && shift ;;
            *) die "With containers, certificates takes --days, --new-authority and --drop-old-authority, and no $1." 2 ;;
        esac
        shift
    done
    "${compose[@]}" run --rm --no-deps -T certificates ecommerce-dw certificates "${options[@]}"
    for server in warehouse airflow-db; do
        [ -n "$(container_of "$server")" ] || continue
        "${compose[@]}" exec -T "$server" sh /etc/ecommerce-dw/postgres-start.sh take
    done
    echo "The servers that run have taken what is there now; sessions go on."
}

logs_containers() {
    local component='' lines=50 options=()
    while [ $# -gt 0 ]; do
        case $1 in
            -f | --follow) options+=(--follow) ;;
            -n | --lines) shift && lines=${1:-50} ;;
            -n*) lines=${1#-n} ;;
            --lines=*) lines=${1#*=} ;;
            *) component=$1 ;;
        esac
        shift
    done
    case $component in
        '' | redis | warehouse | airflow-* | init | statsd-exporter | metrics | prometheus | grafana | mailpit) ;;
        postgres) component=warehouse ;;
        api-server) component=airflow-apiserver ;;
        scheduler | dag-processor | triggerer | worker) component=airflow-$component ;;
        *)
            die "There is no component $component; there are postgres, redis, api-server, scheduler, dag-processor,
triggerer and worker; with monitoring statsd-exporter, metrics, prometheus and grafana; with mail mailpit." 2
            ;;
    esac
    "${compose[@]}" logs --tail "$lines" "${options[@]}" ${component:+"$component"}
}

# --- production ----------------------------------------------------------------------------------------------

is_production() {
    runs_containers && [ -L "$home/current" ]
}

# The folder of the release that a link names; nothing where there is none.
release_behind() {
    [ ! -L "$home/$1" ] || (cd -P -- "$home/$1" && pwd)
}

# A release is its files and an image of its own, which has its name for a tag.
use_release() {
    local image
    project=$1
    image=$(setting ECOMMERCE_DW_IMAGE)
    image=${image:-ecommerce-dw}
    case ${image##*/} in *:*) image=${image%:*} ;; esac
    export ECOMMERCE_DW_IMAGE=$image:${project##*/}
    profiles=prod
    choose_profiles "$(chosen)"
}

# Everything that stands against a deployment, at once. The servers start with good passwords or not at all, because
# their first start writes them down; what they say is then looked at, too.
preflight() {
    local check=$1 upgrade=$2 look tool_options
    # With TLS or without: a server that runs is as the deployment before has started it.
    tool_options=(--env WAREHOUSE_SSLMODE=prefer)
    look=(in_tool ecommerce-dw platform prod --check ${upgrade:+--upgrade-airflow})
    "${look[@]}" || exit 1
    if [ -z "$check" ] && [ -z "$(container_of warehouse)" ]; then
        with_servers true
        "${look[@]}" || exit 1
    fi
}

# Starts the databases and Redis, and runs init, or the given command in its place, once they are healthy.
with_servers() {
    # shellcheck disable=SC2086 # several words
    "${compose[@]}" up --detach $servers && "${compose[@]}" run --rm -T init "$@"
}

# Migrations, every component healthy before the next is touched, DAG files read, smoke test.
bring_up() {
    local workers=$1 upgrade=$2 before=$3 options
    options=(--since "$(date -u +%Y-%m-%dT%H:%M:%SZ)")
    [ -n "$before" ] || options+=(--first)
    if [ -n "$upgrade" ]; then stand_still || return; fi
    echo "Migrations"
    with_servers || return
    roll "$workers" || return
    echo "DAG files and smoke test"
    in_tool ecommerce-dw container verify "${options[@]}"
}

roll() {
    local workers=$1 service count exporter scheduler
    exporter=$(container_of statsd-exporter)
    scheduler=$(container_of airflow-scheduler)
    start_beside || return
    for service in $airflow_services; do
        count=1
        [ "$service" != airflow-worker ] || count=$workers
        echo "Rolling $service"
        "${compose[@]}" up --detach --no-deps --scale "$service=$count" "$service" || return
        wait_until_healthy "$service" "$count" || return
    done
    start_metrics "$exporter" "$scheduler"
}

wait_until_healthy() {
    local service=$1 count=$2 index deadline said
    for ((index = 1; index <= count; index++)); do
        deadline=$((SECONDS + 300))
        until said=$("${compose[@]}" exec -T --index "$index" "$service" ecommerce-dw container healthy 2>&1); do
            if [ "$SECONDS" -ge "$deadline" ]; then
                printf '%s (%s) is not healthy: %s\nIts log ends:\n' "$service" "$index" "$said" >&2
                "${compose[@]}" logs --tail 20 "$service" >&2
                return 1
            fi
            sleep 2
        done
    done
}

# Another Airflow's migration is for nobody to look on; there is no way back from it but this backup.
stand_still() {
    local folder file
    folder=$(setting BACKUP_DIR)
    file=$folder/airflow-$(date -u +%Y%m%dT%H%M%SZ).dump
    echo "Standstill for Airflow's metadata: letting tasks end"
    # shellcheck disable=SC2086 # several words
    "${compose[@]}" stop airflow-worker && "${compose[@]}" stop $airflow_services || return
    if [ -n "$(metadata_revision)" ]; then
        (umask 077 && in_metadata pg_dump --format=custom >"$file.building") && mv -- "$file.building" "$file" ||
            return
        echo "Backup of Airflow's metadata: $file"
    fi
}

# A program of PostgreSQL's, beside Airflow's metadata.
in_metadata() {
    # shellcheck disable=SC2016 # for the shell there
    "${compose[@]}" exec -T airflow-db sh -c \
        'PGPASSWORD=$(cat /run/secrets/airflow_db_password) exec "$0" -h 127.0.0.1 -U airflow "$@" airflow' "$@"
}

metadata_revision() {
    in_metadata psql -Atc 'select version_num from alembic_version' 2>/dev/null || true
}

put_in_service() {
    local target=$1 before=$2 folder
    metadata_revision >"$target/metadata-revision"
    [ -z "$before" ] || [ "$before" = "$target" ] || ln -sfn -- "$before" "$home/previous"
    ln -sfn -- "$target" "$home/current"
    for folder in "$home"/releases/*/; do
        folder=${folder%/}
        [ "$folder" != "$target" ] && [ "$folder" != "$(release_behind previous)" ] || continue
        rm -rf -- "$folder"
    done
    echo "${target##*/} is in service${before:+ (before: ${before##*/})}."
}

go_back() {
    local target=$1 before=$2 workers=$3
    echo "${target##*/} was not deployed; the lines above say why." >&2
    if [ -z "$before" ]; then
        # shellcheck disable=SC2086 # several words
        "${compose[@]}" stop $airflow_services
        echo "It is the first deployment, so there is nothing to go back to: Airflow was stopped. Mend the cause and run
./deploy.sh prod --containers again: it goes on from here." >&2
    elif [ "$before" = "$target" ]; then
        echo "It was deployed already, so there is no other code to go back to: what fails is new in the settings or
around the platform. Mend it and run ./deploy.sh prod again." >&2
    elif [ "$(metadata_revision)" != "$(cat -- "$before/metadata-revision")" ]; then
        echo "Airflow's metadata is migrated already, and ${before##*/} can't run on it. Mend the cause and run
./deploy.sh prod again, or go back: $(restore_advice)" >&2
    else
        use_release "$before"
        cd -- "$before" || exit
        # The servers, too, where the releases differ in how they run.
        if with_servers true && roll "$workers"; then
            echo "Rolled back: every component runs ${before##*/} again. Migrations are additive, so the tables stay as
they are." >&2
        else
            echo "Rolling back to ${before##*/} failed, too; look at ./deploy.sh status and logs." >&2
        fi
    fi
}

restore_advice() {
    echo "${compose[*]} stop the five airflow-… services; drop and create the database airflow in airflow-db;
pg_restore the newest airflow-*.dump of BACKUP_DIR into it; then ./deploy.sh prod --rollback."
}

# --- monitoring and mail -------------------------------------------------------------------------------------

# What `--with` said last.
chosen() {
    cat -- "$home/containers/with" 2>/dev/null || true
}

# Those of COMPOSE_PROFILES, and the given ones (separated by commas) beside them.
choose_profiles() {
    export COMPOSE_PROFILES=$profiles${1:+,$1}
}

has_profile() {
    case ,$COMPOSE_PROFILES, in *,"$1",*) return 0 ;; esac
    return 1
}

# What `--with` says, until it says something else. What is not wanted any more is taken away.
remember_with() {
    local wanted=$1 name was_on had=()
    case $wanted in
        none) wanted='' ;;
        *)
            for name in ${wanted//,/ }; do
                case $name in monitoring | mail) ;; *) wanted='' ;; esac
            done
            [ -n "$wanted" ] || die "--with takes monitoring, mail, both separated by a comma, or none." 2
            ;;
    esac
    was_on=$COMPOSE_PROFILES
    choose_profiles "$wanted"
    for name in monitoring mail; do
        case ,$was_on, in *,"$name",*) has_profile "$name" || had+=("$name") ;; esac
    done
    for name in "${had[@]}"; do
        # shellcheck disable=SC2046 # names of services, without spaces
        COMPOSE_PROFILES=$was_on "${compose[@]}" rm --stop --force $(services_of "$name")
    done
    mkdir -p -- "$home/containers"
    printf '%s' "$wanted" >"$home/containers/with"
}

services_of() {
    case $1 in
        monitoring) echo grafana prometheus metrics statsd-exporter ;;
        mail) echo mailpit ;;
    esac
}

# Before Airflow, which looks for the receiver of its metrics when it starts.
start_beside() {
    local beside=()
    if has_profile monitoring; then beside+=(statsd-exporter prometheus grafana); fi
    if has_profile mail; then beside+=(mailpit); fi
    [ ${#beside[@]} -eq 0 ] || "${compose[@]}" up --detach --no-deps "${beside[@]}"
}

# After Airflow. Who found the exporter before this one would go on sending to its address.
start_metrics() {
    local exporter=$1 scheduler=$2
    has_profile monitoring || return 0
    "${compose[@]}" up --detach --no-deps metrics || return
    if [ "$exporter" != "$(container_of statsd-exporter)" ] && [ "$scheduler" = "$(container_of airflow-scheduler)" ]; then
        "${compose[@]}" restart airflow-scheduler airflow-dag-processor airflow-triggerer
    fi
}

# Where the pages are.
show_beside() {
    if has_profile monitoring; then
        show_page grafana grafana 3000 " (user admin)"
        show_page prometheus prometheus 9090
    fi
    if has_profile mail; then
        show_page mail mailpit 8025
    fi
}

show_page() {
    local name=$1 service=$2 port=$3 remark=${4:-} address
    address=$("${compose[@]}" port "$service" "$port" 2>/dev/null) || address=''
    if [ -n "$address" ]; then
        address=http://localhost:${address##*:}$remark
    fi
    printf '%-11s%s\n' "$name" "${address:-does not run}"
}

# Id of a service's container; nothing where it does not run, or compose can't say.
container_of() {
    "${compose[@]}" ps --quiet "$1" 2>/dev/null || true
}

# --- engine --------------------------------------------------------------------------------------------------

find_compose() {
    local wanted
    wanted=$(setting COMPOSE)
    if [ -n "$wanted" ]; then
        read -r -a compose <<<"$wanted"
        "${compose[@]}" version >/dev/null 2>&1 || die "COMPOSE is set to '$wanted', which does not run."
    elif docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif podman info >/dev/null 2>&1 && podman-compose --version >/dev/null 2>&1; then
        compose=(podman-compose)
    else
        die "No container engine answers: neither 'docker info' with 'docker compose version' nor 'podman info' with
'podman-compose --version' succeeds. Install or start one (and be allowed to use it), set COMPOSE to how compose is
called here, or run ./deploy.sh dev without --containers, which needs none."
    fi
}

has_running() {
    [ -n "$("${compose[@]}" ps --quiet 2>/dev/null)" ]
}

need_running() {
    has_running || die "Nothing runs. Start it with ./deploy.sh dev."
}

# One command in a container of its own that reaches everything.
in_tool() {
    local terminal=()
    [ -t 0 ] && [ -t 1 ] || terminal=(-T)
    "${compose[@]}" run --rm --no-deps "${terminal[@]}" "${tool_options[@]}" init "$@"
}

# --- secrets and settings --------------------------------------------------------------------------------------

# A file for each: what is set, else what is there already, else something random for a key. A password has a default
# in development, and is empty in production, which the preflight tells. Others can't enter the folder; the files are
# readable for the containers' users, who are none of this machine.
write_secrets() {
    local mode=$1 folder=$home/containers/secrets name
    mkdir -p -- "$folder"
    chmod 700 "$home/containers" "$folder"
    for name in warehouse loader transformer analyst; do
        write_secret "$folder/${name}_password" "$([ "$mode" = prod ] || echo "$name")"
    done
    write_secret "$folder/airflow_admin_password" "$([ "$mode" = prod ] || echo admin)"
    write_secret "$folder/grafana_admin_password" "$([ "$mode" = prod ] && random || echo admin)"
    for name in smtp pii_reader api; do
        write_secret "$folder/${name}_password" ""
    done
    for name in $keys; do
        write_secret "$folder/$name" "$(random)"
    done
}

random() {
    head -c 32 /dev/urandom | base64 | tr '+/' '-_'
}

write_secret() {
    local file=$1 default=$2 name value from
    name=$(basename -- "$file" | tr '[:lower:]' '[:upper:]')
    value=$(setting "$name")
    from=$(setting "${name}_FILE")
    if [ -z "$value" ] && [ -n "$from" ]; then
        value=$(cat -- "$from") || die "${name}_FILE names $from, which can't be read."
    fi
    [ -n "$value" ] || [ ! -s "$file" ] || return 0
    printf '%s' "${value:-$default}" >"$file"
    chmod 644 "$file"
}

# Every documented setting that is set goes to the containers, but for secrets, and for folders and programs of
# this machine. The servers' own files are copied, so that another release is no reason to start them anew: they read
# them at their next start.
write_settings() {
    local name value file
    sed -n 's/^#\([A-Z_]*\)=.*/\1/p' "$project/.env.example" | while read -r name; do
        case $name in
            CONTRACTS_DIR | LANDING_* | BACKUP_DIR | COMPOSE* | *_IMAGE | *_FILE | PYTHON | INSTALLER) continue ;;
            WAREHOUSE_SSL*) continue ;; # docker-compose.yml says them
            GRAFANA_* | PROMETHEUS_* | MAIL_UI_PORT) continue ;;
        esac
        [ ! -e "$home/containers/secrets/$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')" ] || continue
        value=$(container_setting "$name")
        [ -z "$value" ] || printf '%s=%s\n' "$name" "$value"
    done >"$home/containers/settings.env"
    chmod 600 "$home/containers/settings.env"
    for file in postgresql.conf pg_hba.conf postgres-start.sh; do
        [ -f "$project/infrastructure/$file" ] || continue # of a release before TLS, to which we go back
        cat -- "$project/infrastructure/$file" >"$home/containers/$file"
        chmod 644 "$home/containers/$file"
    done
}

# A setting as the containers get it: where nothing else takes metrics and mail, our own exporter and inbox do.
container_setting() {
    local name=$1
    case $name in
        STATSD_*)
            if has_profile monitoring && [ -z "$(setting STATSD_HOST)" ]; then
                case $name in STATSD_HOST) echo statsd-exporter ;; STATSD_PORT) echo 9125 ;; esac
                return
            fi
            ;;
        SMTP_*)
            if has_profile mail && [ -z "$(setting SMTP_HOST)" ]; then
                case $name in SMTP_HOST) echo mailpit ;; SMTP_PORT) echo 1025 ;; esac
                return
            fi
            ;;
        ALERT_MAIL_TO)
            if has_profile mail && [ -z "$(setting SMTP_HOST)" ] && [ -z "$(setting ALERT_MAIL_TO)" ]; then
                echo operators@localhost
                return
            fi
            ;;
    esac
    setting "$name"
}
