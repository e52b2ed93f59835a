with

customers as (

    select * from {{ source('ecommerce', 'customers') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        customers.customer_id,

        ---------- text
        nullif(btrim(customers.first_name), '') as first_name,
        nullif(btrim(customers.last_name), '') as last_name,
        lower(nullif(btrim(customers.email), '')) as email,
        nullif(btrim(customers.phone), '') as phone,
        nullif(btrim(customers.address), '') as address,
        nullif(btrim(customers.city), '') as city,
        nullif(btrim(customers.state), '') as state,
        nullif(btrim(customers.zip_code), '') as zip_code,
        nullif(btrim(customers.country), '') as country,
        customers.customer_segment,
        customers.gender,
        customers.acquisition_channel,

        ---------- booleans
        customers.marketing_opt_in as is_marketing_opt_in,

        ---------- dates and times
        customers.registration_date,
        customers.birth_date,
        customers.updated_at as version_at,

        ---------- trail
        customers._file_id,
        files.business_date as _business_date,
        files.path as _path,
        customers._line_number

    from customers
    inner join files
        on files.file_id = customers._file_id

)

select * from renamed
