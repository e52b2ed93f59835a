"""Starting and stopping what the warehouse runs on: the embedded PostgreSQL and Airflow's processes."""
