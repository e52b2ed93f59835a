with

lines as (

    select * from {{ ref('base_online_retail__lines') }}

),

graded as (

    -- Lines without a price carry remarks such as "damaged" more often than names: they name a product
    -- only when nothing better does.
    select
        *,
        case
            when description is null then 0
            when unit_price = 0 then 1
            else 2
        end as grade
    from lines

),

compared_grades as (

    select
        *,
        max(grade) over (partition by product_id) as best_grade
    from graded

),

observed as (

    -- what the last line of a moment says of a product
    select distinct on (product_id, invoiced_at) *
    from compared_grades
    where grade = best_grade
    order by product_id, invoiced_at, order_id collate "C" desc, order_item_id collate "C" desc

),

compared as (

    select
        *,
        row_number() over versions as version_number,
        lag(description) over versions as description_before
    from observed
    window versions as (partition by product_id order by invoiced_at)

),

products as (

    select

        ---------- ids
        product_id,

        ---------- text
        description as product_name,
        null::text as category,
        null::text as subcategory,
        null::text as brand,
        null::text as dimensions,
        null::text as description,

        ---------- numbers
        null::numeric as price,
        null::numeric as cost,
        null::numeric as weight,

        ---------- booleans
        null::boolean as is_active,

        ---------- dates and times
        null::date as created_date,
        invoiced_at as version_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from compared
    where version_number = 1 or description is distinct from description_before

)

select * from products
