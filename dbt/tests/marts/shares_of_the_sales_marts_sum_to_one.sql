-- Shares are rounded to 10 places each.

with

shares as (

    select
        'attempts to pay' as whole,
        source_system,
        month::text as part_of,
        attempt_share as share
    from {{ ref('payment_method_analysis') }}

    union all

    select
        'amounts paid',
        source_system,
        month::text,
        captured_share
    from {{ ref('payment_method_analysis') }}

    union all

    select
        'visits',
        source_system,
        month::text,
        session_share
    from {{ ref('conversion_funnel') }}

    union all

    select
        'net by place',
        source_system,
        level,
        net_share
    from {{ ref('geographic_performance') }}

)

select
    whole,
    source_system,
    part_of,
    sum(share) as share
from shares
where share is not null
group by whole, source_system, part_of
having abs(sum(share) - 1) > 0.0000000001 * count(*)
