with

products as (

    select * from {{ source('ecommerce', 'products') }}

),

files as (

    select * from {{ source('raw', 'load_ledger') }}

),

renamed as (

    select

        ---------- ids
        products.product_id,

        ---------- text
        nullif(btrim(products.product_name), '') as product_name,
        nullif(btrim(products.category), '') as category,
        nullif(btrim(products.subcategory), '') as subcategory,
        nullif(btrim(products.brand), '') as brand,
        nullif(btrim(products.dimensions), '') as dimensions,
        nullif(btrim(products.description), '') as description,

        ---------- numbers
        products.price,
        products.cost,
        products.weight,

        ---------- booleans
        products.is_active,

        ---------- dates and times
        products.created_date,
        products.updated_at as version_at,

        ---------- trail
        products._file_id,
        files.business_date as _business_date,
        files.path as _path,
        products._line_number

    from products
    inner join files
        on files.file_id = products._file_id

)

select * from renamed
