"""The page of one layer table: published beside built, row by row, and which run the built side was read from."""

import csv
import io
from collections.abc import Sequence

from reports.freshness import Today
from reports.layers import PADDINGS, LayerTable, command, conditions
from reports.layers_built import Comparison, Pair
from reports.lineage import commit_of
from reports.markdown import also_as, markdown_table
from sweeper.layers import FILE

AGREES = "agrees"
NOT_BUILT = "not built yet"
HEADINGS = (
    *("layer", "filter: published", "built", "stride: published", "built", "padding: published", "built", "output: published", "built"),
    *("built as", "parameters", "difference"),
)
CSV_FIELDS = (
    *("document", "table", "row", "filter_published", "filter_built", "stride_published", "stride_built", "padding_published"),
    *("padding_built", "output_published", "output_built", "module", "kind", "follows", "parameters", "difference"),
    *("run_id", "sweep", "trial", "model", "image_px", "mask", "commit", "uncommitted_changes"),
)
MEANINGS = {
    "same": "the output's side is the input's divided by the stride, rounded up, or multiplied by the stride in a transposed convolution",
    "valid": "nothing is padded, so the side shrinks by the filter's less one before the stride",
}


def layers_page(comparison: Comparison, today: Today | None = None, endings: Sequence[str] = ("csv",)) -> str:
    """The page in Markdown.

    Args:
        comparison: the layer table with what was built.
        today: says what is stale; None = the code is looked at anew.
        endings: of the files beside it that say the same.
    """
    table = comparison.table
    built = comparison.run is not None
    parts = [
        f"# {table.document}, {table.label}\n",
        f"{table.caption}.\n",
        f"Source: {table.source}; {table.place}.\n",
        f"{comparison.words[:1].upper()}{comparison.words[1:]}.\n",
        markdown_table(HEADINGS, [layers_row(pair) for pair in comparison.pairs]),
        _parameters(comparison) if built else "",
        also_as(table.name, endings),
        "## What the columns say\n",
        _columns(comparison),
        "## What to know\n" if table.notes else "",
        "\n".join(f"- {note}" for note in table.notes) + "\n" if table.notes else "",
        "## Where the built side comes from\n",
        _origin(comparison, today or Today()) if built else _not_built(table),
    ]
    return "\n".join(part for part in parts if part)


def layers_row(pair: Pair) -> list[str]:
    """A pair's cells, under `HEADINGS`."""
    row, layer = pair.row, pair.layer
    published = ["", "", "", ""] if row is None else [row.filter, row.step, row.padding, row.output]
    built = ["", "", "", ""] if layer is None else [layer.filter, layer.step, layer.padding, layer.size]
    sides = [cell for both in zip(published, built, strict=True) for cell in both]
    module = "" if layer is None else f"{' + '.join([layer.kind, *layer.follows])} ({layer.name})"
    parameters = "" if layer is None else str(layer.parameters)
    return ["" if row is None else row.title, *sides, module, parameters, "; ".join(pair.differences) or AGREES]


def layers_csv(comparison: Comparison) -> str:
    """One line a row of the page, under `CSV_FIELDS`."""
    table, run, sweep = comparison.table, comparison.run, comparison.sweep
    origin: dict[str, object] = {"document": table.document, "table": table.number}
    if run is not None and sweep is not None:
        origin |= {"run_id": run.run_id, "sweep": sweep.row.name, "trial": run.trial, "model": run.model}
        origin |= {"image_px": sweep.tag("sweep.image_px"), "mask": sweep.tag("sweep.mask"), "commit": sweep.tag("git.commit")}
        origin |= {"uncommitted_changes": sweep.tag("git.dirty")}
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for pair in comparison.pairs:
        cells = layers_row(pair)
        line = dict(zip(CSV_FIELDS[2:11], cells, strict=False))
        if pair.layer is not None:
            line |= {"module": pair.layer.name, "kind": pair.layer.kind, "follows": " ".join(pair.layer.follows)}
        writer.writerow(origin | line | {"parameters": cells[-2], "difference": cells[-1]})
    return text.getvalue()


def _parameters(comparison: Comparison) -> str:
    """Sums of weights: of the rows, and of the whole model."""
    rows = sum(pair.layer.parameters for pair in comparison.pairs if pair.layer is not None)
    model = sum(layer.parameters for layer in comparison.layers)
    return f"Parameters of these rows: {rows:,}; of the whole model: {model:,}.\n"


def _columns(comparison: Comparison) -> str:
    """What the words for padding mean, what parameters count, what was left out."""
    table = comparison.table
    words = dict.fromkeys(row.padding for row in table.rows if row.padding)
    lines = [f"Padding {word!r}{_read_as(table, word)}." for word in words]
    lines.append("What is empty on the published side is not in the source, and is not compared.")
    lines.append("Parameters are weights and biases, with the scale and shift of batch norm; the source counts none of them row by row.")
    if table.skip:
        left_out = ", ".join(f"{layer.name} ({layer.kind})" for layer in comparison.left_out) or "none there"
        lines.append(f"Left out, since the source's table lists no such layers: {', '.join(table.skip)} - {left_out}.")
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _read_as(table: LayerTable, word: str) -> str:
    """What a word for padding means, as the end of a sentence."""
    meaning = next(table.padding(row) for row in table.rows if row.padding == word)
    return f": {MEANINGS[meaning]}" if word.lower() in PADDINGS else f" is read as {meaning!r}: {MEANINGS[meaning]}"


def _origin(comparison: Comparison, today: Today) -> str:
    """The run, the conditions that it meets, and whether its code has changed since."""
    run, sweep, table = comparison.run, comparison.sweep, comparison.table
    if run is None or sweep is None:
        return ""
    commit = commit_of(sweep)
    headings = ("MLflow run id", "sweep / trial", "model", "images", "holes", "commit")
    row = [run.run_id, f"{sweep.row.name} / {run.trial}", run.model, f"{sweep.tag('sweep.image_px')} px"]
    lines = [
        f"Read from `{FILE}` of this run: {table.shows}, as the engine found it in the run's model, built with the run's configuration.",
        f"Conditions: {conditions(table)}. Of several such sweeps the newest finished one counts.",
        f"Without any run: `{command(table)}`.",
    ]
    if stale := today.stale(run):
        lines.append(f"Stale: {stale}.")
    text = markdown_table(headings, [[*row, sweep.tag("sweep.mask"), commit]])
    return text + "\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _not_built(table: LayerTable) -> str:
    lines = [
        f"{NOT_BUILT[:1].upper()}{NOT_BUILT[1:]}: the store has no finished sweep with a run that has {conditions(table)} and its layers.",
        f"To build it: {f'`{table.fill}`' if table.fill else f'run any sweep of {table.model} that meets these conditions'}. "
        f"To see the layers without any run: `{command(table)}`.",
    ]
    return "\n".join(f"- {line}" for line in lines) + "\n"
