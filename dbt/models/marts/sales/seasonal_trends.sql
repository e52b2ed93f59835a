{{ config(unique_key=['source_system', 'dimension', 'member']) }}

with

sales_days as (

    select * from {{ ref('int_sales_day') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select * from {{ ref('int_source_as_of') }}

),

shops as (

    select
        sales_days.source_system,
        min(sales_days.currency) as currency,
        min(sales_days.day) as first_day,
        greatest(max(sales_days.day), min(as_of.as_of_date)) as last_day
    from sales_days
    inner join as_of on sales_days.source_system = as_of.source_system
    group by sales_days.source_system

),

-- Every day from the first to the last: one on which nothing was sold is a day all the same.

days as (

    select
        shops.source_system,
        shops.currency,
        dates.date_day as day,
        dates.iso_day_of_week,
        dates.day_name,
        dates.month_of_year,
        dates.month_name,
        dates.us_holiday_name,
        coalesce(sales_days.order_count, 0) as order_count,
        coalesce(sales_days.gross_amount, 0) as gross_amount,
        coalesce(sales_days.discount_amount, 0) as discount_amount,
        coalesce(
            {{ net_amount(
                'sales_days.gross_amount', 'sales_days.discount_amount',
                'sales_days.cancelled_amount', 'sales_days.refund_amount'
            ) }}, 0
        ) as net_amount,
        coalesce(sales_days.gross_amount - sales_days.discount_amount, 0) as ordered_amount
    from shops
    inner join dates on dates.date_day between shops.first_day and shops.last_day
    left join sales_days
        on shops.source_system = sales_days.source_system
        and dates.date_day = sales_days.day

),

-- The year around a day, where the history knows all of it: what it is compared with holds every season once, and growth
-- weighs as much before as after.

trended as (

    select
        *,
        case
            when count(*) over around_the_day = 365 then avg(ordered_amount) over around_the_day
        end as year_ordered_amount_per_day
    from days
    window around_the_day as (
        partition by source_system
        order by day
        rows between 182 preceding and 182 following
    )

),

-- Holidays in the order of the year, by their earliest possible day: the same number in every shop.

holiday_numbers as (

    select
        us_holiday_name,
        row_number() over (order by min(month_of_year * 100 + day_of_month)) as holiday_number
    from dates
    where us_holiday_name is not null
    group by us_holiday_name

),

-- What a holiday would have been: days of its weekday, up to four weeks before and after, that are no holidays.

ordinary_days as (

    select
        holidays.source_system,
        holidays.us_holiday_name,
        avg(ordinary.ordered_amount) as ordered_amount_per_day,
        avg(ordinary.order_count) as order_count_per_day
    from days as holidays
    cross join (values (-28), (-21), (-14), (-7), (7), (14), (21), (28)) as distances (distance)
    inner join days as ordinary
        on holidays.source_system = ordinary.source_system
        and holidays.day + distances.distance = ordinary.day
    where holidays.us_holiday_name is not null
        and ordinary.us_holiday_name is null
    group by holidays.source_system, holidays.us_holiday_name

),

members as (

    select
        trended.*,
        memberships.dimension,
        memberships.member_number,
        memberships.member
    from trended
    left join holiday_numbers on trended.us_holiday_name = holiday_numbers.us_holiday_name
    cross join lateral (
        values
            ('weekday', trended.iso_day_of_week, trended.day_name),
            ('month', trended.month_of_year, trended.month_name),
            ('holiday', holiday_numbers.holiday_number, trended.us_holiday_name)
    ) as memberships (dimension, member_number, member)
    where memberships.member is not null

),

summed as (

    select
        source_system,
        dimension,
        member_number,
        member,
        min(currency) as currency,
        count(*) as day_count,
        sum(order_count) as order_count,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(net_amount) as net_amount,
        avg(ordered_amount) as ordered_amount_per_day,
        avg(order_count) as order_count_per_day,
        count(year_ordered_amount_per_day) filter (where dimension = 'month') as detrended_day_count,
        sum(ordered_amount) filter (where dimension = 'month' and year_ordered_amount_per_day is not null)
        / nullif(sum(year_ordered_amount_per_day), 0) as detrended_index
    from members
    group by source_system, dimension, member_number, member

),

-- The mean of the members' averages and not of the days: a history of 17 months knows some months twice.

based as (

    select
        summed.*,
        case
            when summed.dimension = 'holiday' then ordinary_days.ordered_amount_per_day
            else avg(summed.ordered_amount_per_day) over by_dimension
        end as base_ordered_amount_per_day,
        case
            when summed.dimension = 'holiday' then ordinary_days.order_count_per_day
            else avg(summed.order_count_per_day) over by_dimension
        end as base_order_count_per_day
    from summed
    left join ordinary_days
        on summed.source_system = ordinary_days.source_system
        and summed.dimension = 'holiday'
        and summed.member = ordinary_days.us_holiday_name
    window by_dimension as (partition by summed.source_system, summed.dimension)

),

final as (

    select
        -- ids
        source_system,
        dimension,
        member,

        -- text
        currency,

        -- numbers
        member_number::integer as member_number,
        day_count::bigint as day_count,
        order_count::bigint as order_count,
        gross_amount::numeric(18, 4) as gross_amount,
        discount_amount::numeric(18, 4) as discount_amount,
        net_amount::numeric(18, 4) as net_amount,
        round(ordered_amount_per_day, 4)::numeric(18, 4) as ordered_amount_per_day,
        round(base_ordered_amount_per_day, 4)::numeric(18, 4) as base_ordered_amount_per_day,
        round(order_count_per_day, 4)::numeric(18, 4) as order_count_per_day,
        round(base_order_count_per_day, 4)::numeric(18, 4) as base_order_count_per_day,
        {{ ratio('ordered_amount_per_day', 'base_ordered_amount_per_day') }} as ordered_amount_index,
        {{ ratio('order_count_per_day', 'base_order_count_per_day') }} as order_count_index,
        detrended_day_count::bigint as detrended_day_count,
        round(detrended_index, 10)::numeric(20, 10) as detrended_index
    from based

)

select * from final
