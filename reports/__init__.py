"""Reports: from the MLflow store to the papers' tables, in seconds, without Ray or torch.

    python -m reports.build                 the store of this folder -> report/
    python -m reports.build --home DIR --out DIR --only beyond_cnns_1 --format html,md
    python -m reports.build --watch         again whenever the store has changed, until Ctrl-C

    python -m reports.build --strict        and ends with code 1 where a cell is missing or stale

`tables/*.yaml` holds one published table each: its cells, the published values and where they stand in the source, and which runs may fill
a cell (`reports.table` says how to write one). `tables/layers/*.yaml` holds the papers' networks layer by layer (`reports.layers`), to
stand beside the layers that runs have kept. `reports.selection` picks the runs, `reports.verdict` judges a measured value beside the
published one, `reports.freshness` says what is stale, `reports.wanted` and `reports.agenda` which sweeps compute what is missing, in which
order (`sweep run table:NAME`); the other modules write what a reader sees:

    index.html                      all of it as one page that needs nothing but itself
    index.md                        who fills best on each data set; every table and every sweep
    tables/NAME.md .csv .png .svg   published beside measured; every measured number with the runs it comes from
    tables/NAME.md .csv             of a layer table: published beside built, row by row
    sweeps/NAME.md .png             leaderboard, comparison with the plain fill, result on the test split, picture grid
    report.tex, tables/NAME.tex     the tables for LaTeX
    report.json                     what was built; the mark by which a later build knows the folder as its own

Two builds from the same store give the same bytes.
"""
