-- Days looked up in the calendar of the US Office of Personnel Management, and ISO weeks at the turn of a year.

with expected (date_day, holiday_name, observed_holiday_name, iso_year, iso_week, business_day_of_month) as (
    values
    ('2021-12-31'::date, null, 'New Year''s Day', 2021, 52, 21),
    ('2022-01-01', 'New Year''s Day', null, 2021, 52, 0),
    ('2020-06-19', null, null, 2020, 25, 15),
    ('2021-06-18', null, 'Juneteenth National Independence Day', 2021, 24, 13),
    ('2024-01-15', 'Birthday of Martin Luther King, Jr.', 'Birthday of Martin Luther King, Jr.', 2024, 3, 9),
    ('2024-02-19', 'Washington''s Birthday', 'Washington''s Birthday', 2024, 8, 12),
    ('2024-05-27', 'Memorial Day', 'Memorial Day', 2024, 22, 18),
    ('2026-07-03', null, 'Independence Day', 2026, 27, 2),
    ('2024-09-02', 'Labor Day', 'Labor Day', 2024, 36, 0),
    ('2024-10-14', 'Columbus Day', 'Columbus Day', 2024, 42, 9),
    ('2024-11-11', 'Veterans Day', 'Veterans Day', 2024, 46, 6),
    ('2024-11-28', 'Thanksgiving Day', 'Thanksgiving Day', 2024, 48, 18),
    ('2022-12-26', null, 'Christmas Day', 2022, 52, 17),
    ('2020-12-31', null, null, 2020, 53, 22)
)

select expected.*
from expected
left join {{ ref('dim_date') }} as dates on expected.date_day = dates.date_day
where dates.us_holiday_name is distinct from expected.holiday_name
    or dates.us_observed_holiday_name is distinct from expected.observed_holiday_name
    or dates.iso_year is distinct from expected.iso_year
    or dates.iso_week is distinct from expected.iso_week
    or dates.business_day_of_month is distinct from expected.business_day_of_month
