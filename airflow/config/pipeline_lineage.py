"""What OpenLineage asks about a task of the pipeline; imported only where lineage is switched on."""

from __future__ import annotations

from airflow.providers.openlineage.extractors.base import BaseExtractor, OperatorLineage
from openlineage.client.event_v2 import Dataset

from ecommerce_dw.alerts import DAG_ID
from ecommerce_dw.lineage import lineage_of
from ecommerce_dw.settings import get_settings


class PipelineExtractor(BaseExtractor):
    """Files and tables that a task reads and writes, by its name."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        """The operator behind `@task`."""
        return ["_PythonDecoratedOperator"]

    def _execute_extraction(self) -> OperatorLineage:
        if self.operator.dag_id != DAG_ID:
            return OperatorLineage()
        found = lineage_of(self.operator.task_id, get_settings())
        return OperatorLineage(
            inputs=[Dataset(namespace=each.namespace, name=each.name) for each in found.inputs],
            outputs=[Dataset(namespace=each.namespace, name=each.name) for each in found.outputs],
        )
