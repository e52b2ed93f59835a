-- The facts' days are those of the state, and the state's sum is the mart's.

with

sessions as (

    select
        source_system,
        session_date as day,
        count(*) as session_count,
        count(*) filter (where has_purchase) as purchase_session_count
    from {{ ref('fact_sessions') }}
    where {{ is_day_touched('fact_sessions', 'session_date') }}
    group by source_system, session_date

),

funnel_days as not materialized (

    select * from {{ ref('int_funnel_day') }}

),

touched_funnel_days as (

    select
        source_system,
        day,
        sum(session_count) as session_count,
        sum(purchase_session_count) as purchase_session_count
    from funnel_days
    where {{ is_day_touched('fact_sessions', 'day') }}
    group by source_system, day

),

state_totals as (

    select
        source_system,
        sum(session_count) as session_count,
        sum(cart_session_count) as cart_session_count
    from funnel_days
    group by source_system

),

mart_totals as (

    select
        source_system,
        sum(session_count) as session_count,
        sum(cart_session_count) as cart_session_count
    from {{ ref('conversion_funnel') }}
    group by source_system

)

select
    source_system,
    day
from sessions
full join touched_funnel_days as state using (source_system, day)
where (sessions.session_count, sessions.purchase_session_count)
    is distinct from (state.session_count, state.purchase_session_count)

union all

select
    source_system,
    null as day
from state_totals
full join mart_totals using (source_system)
where (state_totals.session_count, state_totals.cart_session_count)
    is distinct from (mart_totals.session_count, mart_totals.cart_session_count)
