# shellcheck shell=bash
# The platform as containers: what deploy.sh does in place of its own processes after `dev --containers`.
# deploy.sh sources it; the mode is remembered in $home/mode.
# shellcheck disable=SC2154 # project, home and venv are set there

readonly keys="airflow_db_password airflow_fernet_key airflow_jwt_secret airflow_api_secret_key redis_password
    monitor_password"

runs_containers() {
    [ "$(cat -- "$home/mode" 2>/dev/null)" = containers ]
}

in_containers() {
    local command=$1
    shift
    find_compose
    cd -- "$project" || exit
    profiles=$(setting COMPOSE_PROFILES)
    profiles=${profiles:-dev}
    choose_profiles "$(cat -- "$home/containers/with" 2>/dev/null || true)"
    export ECOMMERCE_DW_HOME=$home
    export BUILDAH_FORMAT=docker # podman's own format leaves health checks out
    "${command}_containers" "$@"
}

# --- commands ------------------------------------------------------------------------------------------------

dev_containers() {
    local workers exporter scheduler with=() beside=() arguments=()
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
    write_secrets
    write_settings
    printf containers >"$home/mode"
    "${compose[@]}" build init
    exporter=$(container_of statsd-exporter)
    scheduler=$(container_of airflow-scheduler)
    # What is beside the platform goes first: Airflow looks for the receiver of its metrics when it starts.
    if has_profile monitoring; then beside+=(statsd-exporter prometheus grafana); fi
    if has_profile mail; then beside+=(mailpit); fi
    if [ ${#beside[@]} -gt 0 ]; then
        "${compose[@]}" up --detach --no-deps "${beside[@]}"
    fi
    # What changed is rolled, the workers last: they end the tasks they have, for which the others have to be there.
    "${compose[@]}" up --detach --remove-orphans airflow-apiserver
    "${compose[@]}" up --detach --no-deps airflow-scheduler airflow-dag-processor airflow-triggerer
    "${compose[@]}" up --detach --no-deps --scale "airflow-worker=$workers" airflow-worker
    if has_profile monitoring; then
        "${compose[@]}" up --detach --no-deps metrics
        # Who found the one before would go on sending to its address.
        if [ "$exporter" != "$(container_of statsd-exporter)" ] && [ "$scheduler" = "$(container_of airflow-scheduler)" ]; then
            "${compose[@]}" restart airflow-scheduler airflow-dag-processor airflow-triggerer
        fi
    fi
    in_tool ecommerce-dw platform dev "${arguments[@]}"
    show_beside
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

# The programs are in the image, so the shell gets functions of their names.
env_containers() {
    local name
    for name in airflow dbt psql ecommerce-dw; do
        printf "%s() { '%s/deploy.sh' run %s \"\$@\"; }\n" "$name" "${project//\'/\'\\\'\'}" "$name"
    done
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

# --- monitoring and mail -------------------------------------------------------------------------------------

# Those of COMPOSE_PROFILES, and the given ones (separated by commas) beside them.
choose_profiles() {
    export COMPOSE_PROFILES=$profiles${1:+,$1}
}

has_profile() {
    case ,$COMPOSE_PROFILES, in *,"$1",*) return 0 ;; esac
    return 1
}

# What `dev --with` says, until it says something else. What is not wanted any more is taken away.
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
    "${compose[@]}" run --rm --no-deps "${terminal[@]}" init "$@"
}

# --- secrets and settings --------------------------------------------------------------------------------------

# A file for each: what is set, else what is there already, else the default of development or something random.
# Others can't enter the folder; the files are readable for the containers' users, who are none of this machine.
write_secrets() {
    local folder=$home/containers/secrets name
    mkdir -p -- "$folder"
    chmod 700 "$home/containers" "$folder"
    for name in warehouse loader transformer analyst; do
        write_secret "$folder/${name}_password" "$name"
    done
    for name in $keys; do
        write_secret "$folder/$name" "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"
    done
    write_secret "$folder/grafana_admin_password" admin
}

write_secret() {
    local file=$1 default=$2 value
    value=$(setting "$(basename -- "$file" | tr '[:lower:]' '[:upper:]')")
    [ -n "$value" ] || [ ! -s "$file" ] || return 0
    printf '%s' "${value:-$default}" >"$file"
    chmod 644 "$file"
}

# Every documented setting that is set goes to the containers, but for secrets, and for folders and programs of
# this machine.
write_settings() {
    local name value
    sed -n 's/^#\([A-Z_]*\)=.*/\1/p' "$project/.env.example" | while read -r name; do
        case $name in
            CONTRACTS_DIR | LANDING_* | COMPOSE* | *_IMAGE | PYTHON | INSTALLER) continue ;;
            GRAFANA_* | PROMETHEUS_* | MAIL_UI_PORT) continue ;;
        esac
        [ ! -e "$home/containers/secrets/$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')" ] || continue
        value=$(container_setting "$name")
        [ -z "$value" ] || printf '%s=%s\n' "$name" "$value"
    done >"$home/containers/settings.env"
    chmod 600 "$home/containers/settings.env"
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
