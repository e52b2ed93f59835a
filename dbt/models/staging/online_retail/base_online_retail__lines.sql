with

lines as (

    select * from {{ source('online_retail', 'lines') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

codes as (

    select * from {{ ref('online_retail_codes') }}

),

cleaned as (

    select

        ---------- ids
        lines.invoice_no as order_id,
        lines.stock_code as product_id,
        -- numbers come as 17850.0
        nullif(split_part(lines.customer_id, '.', 1), '') as customer_id,

        ---------- text
        nullif(btrim(lines.description), '') as description,
        nullif(btrim(lines.country), '') as country,

        ---------- numbers
        lines.quantity,
        lines.unit_price,

        ---------- dates and times
        lines.invoice_date as invoiced_at,

        ---------- trail
        lines._file_id,
        files.business_date as _business_date,
        files.path as _path,
        lines._line_number

    from lines
    inner join files
        on files.file_id = lines._file_id

),

numbered as (

    -- Whoever asks for some orders, products or customers only is served without numbering the other
    -- lines: all three are in the partition.
    select
        *,
        row_number() over (
            partition by
                order_id, product_id, customer_id, invoiced_at, quantity, unit_price, description, country
            order by _business_date, _path collate "C", _line_number
        ) as occurrence_number
    from cleaned

),

typed as (

    select
        numbered.*,
        case
            when numbered.order_id like 'C%' then 'cancellation'
            when numbered.order_id like 'A%' then 'adjustment'
            else 'sale'
        end as order_type,
        -- the first that holds
        case
            when numbered.unit_price = 0 then 'zero_priced'
            when numbered.unit_price < 0 or numbered.order_id like 'A%' then 'adjustment'
            when codes.line_type is not null then codes.line_type
            when numbered.order_id like 'C%' then 'cancellation'
            when numbered.quantity < 0 then 'adjustment'
            else 'sale'
        end as line_type
    from numbered
    left join codes
        on codes.stock_code = numbered.product_id

),

final as (

    select

        ---------- ids
        -- of the line's values and not of its place, so that a corrected file moves no other line
        {{ surrogate_key([
            'order_id', 'product_id', 'customer_id', 'extract(epoch from invoiced_at)', 'quantity',
            'trim_scale(unit_price)', 'description', 'country', 'occurrence_number'
        ]) }}::text as order_item_id,
        order_id,
        product_id,
        customer_id,

        ---------- text
        order_type,
        line_type,
        description,
        country,

        ---------- numbers
        quantity,
        unit_price,
        quantity * unit_price as line_total,
        occurrence_number,

        ---------- booleans
        occurrence_number > 1 as is_duplicate,

        ---------- dates and times
        invoiced_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from typed

)

select * from final
