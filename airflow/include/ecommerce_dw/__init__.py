"""An Airflow-orchestrated PostgreSQL warehouse for e-commerce analytics.

The package holds every step of the pipeline as a plain function: loading, transforming, validating,
publishing and alerting. It never imports Airflow; the DAG files, the command line and the tests all call
the same functions.
"""
