with

lines as (

    select * from {{ source('sales', 'sales') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

cleaned as (

    select

        ---------- ids
        -- what is given back is a document of its own, by order and day; of the line's values alone, so
        -- that no line moves another one
        case
            when lines.line_total < 0 then {{ sales_refund_id('lines.order_id', 'lines.sale_date') }}
            else lines.order_id
        end as order_id,
        nullif(btrim(lines.customer_id), '') as customer_id,

        ---------- numbers
        lines.line_total,

        ---------- dates and times
        lines.sale_date,

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

    select
        *,
        row_number() over (
            partition by order_id, customer_id, sale_date, line_total
            order by _business_date, _path collate "C", _line_number
        ) as occurrence_number
    from cleaned

),

final as (

    select

        ---------- ids
        -- of the line's values and not of its place, so that a corrected file moves no other line
        {{ surrogate_key([
            'order_id', 'customer_id', "to_char(sale_date, 'YYYY-MM-DD')", 'trim_scale(line_total)', 'occurrence_number'
        ]) }}::text as order_item_id,
        order_id,
        customer_id,

        ---------- text
        case when line_total < 0 then 'cancellation' else 'sale' end as order_type,
        case
            when line_total < 0 then 'cancellation'
            when line_total = 0 then 'zero_priced'
            else 'sale'
        end as line_type,

        ---------- numbers
        case when line_total < 0 then -1 else 1 end as quantity,
        abs(line_total) as unit_price,
        line_total,
        occurrence_number,

        ---------- booleans
        occurrence_number > 1 as is_duplicate,

        ---------- dates and times
        sale_date,
        sale_date::timestamp at time zone {{ source_time_zone("'sales'") }} as sold_at,

        ---------- trail
        _file_id,
        _business_date,
        _path,
        _line_number

    from numbered

)

select * from final
