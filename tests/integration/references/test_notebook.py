"""docs/explore.ipynb runs in a kernel of its own, for each shop, and its plots show something."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import re

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image, ImageDraw

from ecommerce_dw.settings import PROJECT_DIR
from ecommerce_dw.transform import parse
from tests.support.reference import BuiltWarehouse

NOTEBOOK = PROJECT_DIR / "docs" / "explore.ipynb"

#: What is asked: id of the cell → the question above it.
QUESTIONS = {
    "growth": "1. Is the shop growing?",
    "retention": "2. Do customers come back?",
    "segments": "3. Which customers carry the shop?",
    "funnel": "4. Where do visitors give up?",
    "channels": "5. Which channel earns more than it costs?",
    "products": "6. Which products make the money?",
    "delivery": "7. Do we deliver when we promised?",
    "arrival": "8. Did everything arrive, and could it be read?",
}


@pytest.fixture
def notebook() -> NotebookNode:
    """The notebook as it is stored."""
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_stored_without_outputs(notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, (
                f"The cell {cell.id} has outputs: clear those of all cells and save docs/explore.ipynb again."
            )


def test_each_question_has_one_query_one_plot_and_how_to_read_it(notebook: NotebookNode) -> None:
    cells = notebook.cells
    found = {}
    for text, code in itertools.pairwise(cells):
        heading = re.match(r"## (.+)\n", text.source)
        if text.cell_type == "markdown" and heading:
            found[code.id] = heading[1]
            assert "*How to read it:*" in text.source, heading[1]
            assert code.source.count("ask(") == code.source.count("chart(") == 1, heading[1]
            assert f'"{heading[1].split(". ", 1)[1]}"' in code.source, "the plot has another title"
    assert found == QUESTIONS


@pytest.mark.parametrize(
    ("shop", "unanswered"),
    [
        (None, {}),
        (
            "online_retail",
            {
                "funnel": "The files of online_retail have no web events",
                "channels": "The files of online_retail have no marketing spend",
                "delivery": "online_retail has nothing that would answer this",
            },
        ),
        (
            "sales",
            {
                "funnel": "The files of sales have no web events",
                "channels": "The files of sales have no marketing spend",
                "products": "The files of sales have no products",
                "delivery": "sales has nothing that would answer this",
            },
        ),
    ],
    ids=["by default", "online_retail", "sales"],
)
def test_each_question_is_answered_by_a_plot_or_the_reason_why_not(
    notebook: NotebookNode,
    built_shops: BuiltWarehouse,
    shop: str | None,
    unanswered: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = {cell.id: cell for cell in notebook.cells}
    assert cells["parameters"].source == "SHOP = None"
    cells["parameters"].source = f"SHOP = {shop!r}"
    # the bars themselves, read back from the figure
    bars = nbformat.v4.new_code_cell("print([float(bar.get_height()) for bar in axis.patches])")
    notebook.cells.insert(notebook.cells.index(cells["growth"]) + 1, bars)

    run(notebook, built_shops, monkeypatch)

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert not [text for cell in code for text in texts(cell, "stderr") if "Warning" in text]
    name = shop or "ecommerce"
    assert texts(cells["shops"])[0].startswith(f"The plots are about {name}, in ")
    for id_ in QUESTIONS:
        reason, pictures = unanswered.get(id_), images(cells[id_])
        if reason:
            assert texts(cells[id_]) == [f"No plot: {reason}.\n"], id_
            assert not pictures, id_
        else:
            assert texts(cells[id_]) == [], id_
            assert len(pictures) == 1 and coloured_share(pictures[0]) > 0.001, f"{id_}: nothing is drawn"
    revenue = built_shops.rows(
        "select net_amount from marts.monthly_metrics where source_system = %s order by month desc limit 24",
        name,
    )
    assert len(revenue) > 1
    assert json.loads(texts(bars)[0]) == pytest.approx([float(amount) for (amount,) in revenue])


def test_axes_and_words_alone_count_as_nothing_drawn() -> None:
    picture = Image.new("RGB", (400, 200), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((10, 10), "Is the shop growing?", fill="black")
    draw.line([(20, 180), (380, 180)], fill="#444444", width=3)
    assert coloured_share(picture) == 0
    draw.rectangle([40, 60, 120, 180], fill="#0072B2")
    assert coloured_share(picture) > 0.01


def test_the_exposure_names_the_tables_that_it_reads(
    notebook: NotebookNode, built_shops: BuiltWarehouse
) -> None:
    manifest = json.loads((parse(built_shops.settings) / "manifest.json").read_text())
    exposure = manifest["exposures"]["exposure.ecommerce_dw.explore_notebook"]
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    read = set(re.findall(r"\b(?:from|join) marts\.(\w+)", code))
    assert {node.split(".")[-1] for node in exposure["depends_on"]["nodes"]} == read
    assert exposure["type"] == "notebook"


def run(notebook: NotebookNode, warehouse: BuiltWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every cell; what Jupyter, IPython and matplotlib write goes into the warehouse's home."""
    home = warehouse.settings.home / "notebook"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(home / name.lower()))
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(home)}}
    )
    client.execute(env=os.environ | warehouse.settings.environment())


def texts(cell: NotebookNode, stream: str = "stdout") -> list[str]:
    """What the cell wrote to a stream."""
    return [output.text for output in cell.outputs if output.get("name") == stream]


def images(cell: NotebookNode) -> list[Image.Image]:
    """The pictures that the cell shows."""
    return [
        Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def coloured_share(picture: Image.Image) -> float:
    """Share of the pixels that are no shade of grey: axes and words are, what is drawn is not."""
    pixels = np.asarray(picture.convert("RGB"), dtype=int)
    return float((pixels.max(axis=2) - pixels.min(axis=2) > 60).mean())
