{{ config(
    incremental_strategy='changed_rows',
    unique_key='date_day',
    indexes=[{'columns': ['date_day'], 'unique': true}],
) }}

{#- First month of the fiscal year, 1 to 12. A fiscal year has the name of the calendar year it ends in. -#}
{%- set fiscal_start = env_var('FISCAL_YEAR_START_MONTH', '1') | int -%}
{%- if fiscal_start < 1 or fiscal_start > 12 -%}
    {{ exceptions.raise_compiler_error(
        "FISCAL_YEAR_START_MONTH is " ~ env_var('FISCAL_YEAR_START_MONTH') ~ ": give a month from 1 to 12.") }}
{%- endif -%}

-- One year more on either side: a holiday at the edge may be observed on the other side of it.
with days as (
    select day::date as date_day
    from generate_series('1999-01-01'::timestamp, '2050-12-31'::timestamp, interval '1 day') as days (day)
),

calendar as (
    select
        date_day,
        extract(year from date_day)::integer as calendar_year,
        extract(quarter from date_day)::integer as calendar_quarter,
        extract(month from date_day)::integer as month_of_year,
        extract(day from date_day)::integer as day_of_month,
        extract(doy from date_day)::integer as day_of_year,
        extract(isoyear from date_day)::integer as iso_year,
        extract(week from date_day)::integer as iso_week,
        extract(isodow from date_day)::integer as iso_day_of_week,
        -- months since the start of the fiscal year, 0 to 11
        (extract(month from date_day)::integer - {{ fiscal_start }} + 12) % 12 as fiscal_month_offset
    from days
),

holidays as (
    select
        *,
        case
            when month_of_year = 1 and day_of_month = 1 then 'New Year''s Day'
            -- third Monday of January
            when month_of_year = 1 and iso_day_of_week = 1 and day_of_month between 15 and 21
                then 'Birthday of Martin Luther King, Jr.'
            -- third Monday of February
            when month_of_year = 2 and iso_day_of_week = 1 and day_of_month between 15 and 21
                then 'Washington''s Birthday'
            -- last Monday of May
            when month_of_year = 5 and iso_day_of_week = 1 and day_of_month >= 25 then 'Memorial Day'
            -- a federal holiday since 2021
            when month_of_year = 6 and day_of_month = 19 and calendar_year >= 2021
                then 'Juneteenth National Independence Day'
            when month_of_year = 7 and day_of_month = 4 then 'Independence Day'
            -- first Monday of September
            when month_of_year = 9 and iso_day_of_week = 1 and day_of_month <= 7 then 'Labor Day'
            -- second Monday of October
            when month_of_year = 10 and iso_day_of_week = 1 and day_of_month between 8 and 14
                then 'Columbus Day'
            when month_of_year = 11 and day_of_month = 11 then 'Veterans Day'
            -- fourth Thursday of November
            when month_of_year = 11 and iso_day_of_week = 4 and day_of_month between 22 and 28
                then 'Thanksgiving Day'
            when month_of_year = 12 and day_of_month = 25 then 'Christmas Day'
        end as holiday_name
    from calendar
),

-- a holiday on a Saturday is observed the Friday before, on a Sunday the Monday after
observed as (
    select
        date_day
        + case iso_day_of_week
            when 6 then -1
            when 7 then 1
            else 0
        end as date_day,
        holiday_name as observed_holiday_name
    from holidays
    where holiday_name is not null
),

business_days as (
    select
        holidays.*,
        observed.observed_holiday_name,
        holidays.iso_day_of_week <= 5 and observed.observed_holiday_name is null as is_business_day
    from holidays
    left join observed on holidays.date_day = observed.date_day
    where holidays.date_day between '2000-01-01' and '2049-12-31'
)

select
    date_day,

    calendar_year,
    calendar_quarter,
    month_of_year,
    day_of_month,
    day_of_year,
    to_char(date_day, 'FMMonth') as month_name,
    to_char(date_day, 'FMDay') as day_name,
    date_trunc('month', date_day)::date as month_start_date,
    date_trunc('quarter', date_day)::date as quarter_start_date,

    iso_year,
    iso_week,
    iso_day_of_week,
    date_trunc('week', date_day)::date as week_start_date,

    calendar_year + {{ 'case when fiscal_month_offset < ' ~ (13 - fiscal_start) ~ ' then 1 else 0 end'
        if fiscal_start > 1 else '0' }} as fiscal_year,
    fiscal_month_offset / 3 + 1 as fiscal_quarter,
    fiscal_month_offset + 1 as fiscal_month,

    iso_day_of_week >= 6 as is_weekend,
    holiday_name is not null as is_us_holiday,
    holiday_name as us_holiday_name,
    observed_holiday_name is not null as is_us_holiday_observed,
    observed_holiday_name as us_observed_holiday_name,
    is_business_day,
    count(*) filter (where is_business_day) over (order by date_day)::integer as business_day_number,
    count(*) filter (where is_business_day) over (
        partition by calendar_year, month_of_year
        order by date_day
    )::integer as business_day_of_month
from business_days
