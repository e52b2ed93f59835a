with

marketing_spend as (

    select * from {{ source('ecommerce', 'marketing_spend') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- text
        lower(btrim(marketing_spend.channel)) as channel,
        lower(btrim(marketing_spend.campaign)) as campaign,

        ---------- numbers
        marketing_spend.impressions as impression_count,
        marketing_spend.clicks as click_count,
        marketing_spend.spend as spend_amount,

        ---------- dates and times
        marketing_spend.spend_date,
        marketing_spend.spend_date::timestamp at time zone {{ source_time_zone("'ecommerce'") }} as version_at,

        ---------- trail
        marketing_spend._file_id,
        files.business_date as _business_date,
        files.path as _path,
        marketing_spend._line_number

    from marketing_spend
    inner join files
        on files.file_id = marketing_spend._file_id

)

select * from renamed
