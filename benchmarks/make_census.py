"""Make the bundled census table from the raw file of the UCI repository: `python benchmarks/make_census.py census-income.data`.

The raw file is text without a header, 42 fields a row, ", " between them; see src/hardgrad/tabular/data/README.md for where it is from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from hardgrad.core.files import atomic_path

ROWS = 40_000
SEED = 1994
TARGET = "income_over_50k"
COLUMNS = (
    "age", "class_of_worker", "industry_code", "occupation_code", "education", "wage_per_hour", "enrolled_last_week",
    "marital_status", "major_industry", "major_occupation", "race", "hispanic_origin", "sex", "union_member",
    "unemployment_reason", "employment_status", "capital_gains", "capital_losses", "dividends", "tax_filer_status",
    "previous_region", "previous_state", "household_detail", "household_summary", "instance_weight", "migration_msa",
    "migration_region", "migration_within_region", "same_house_a_year_ago", "previous_home_in_sunbelt",
    "persons_worked_for_employer", "parents_of_under_18", "father_birth_country", "mother_birth_country", "birth_country",
    "citizenship", "own_business", "veterans_questionnaire", "veterans_benefits", "weeks_worked", "year", TARGET,
)  # fmt: skip
CODES_AS_TEXT = ("industry_code", "occupation_code")  # numbers of a code book: their order means nothing
YES_NO = {"0": "Not in universe", "1": "Yes", "2": "No"}
YES_NO_COLUMNS = ("own_business", "veterans_benefits")


def make(source: Path) -> pa.Table:
    text = (*CODES_AS_TEXT, *YES_NO_COLUMNS)
    raw = pacsv.read_csv(
        source,
        read_options=pacsv.ReadOptions(column_names=list(COLUMNS)),
        convert_options=pacsv.ConvertOptions(
            strings_can_be_null=False, column_types={name: pa.string() for name in text}
        ),
    )
    chosen = np.sort(np.random.default_rng(SEED).choice(len(raw), size=ROWS, replace=False))
    raw = raw.take(pa.array(chosen))
    columns = {}
    for name in COLUMNS:
        values = raw[name].combine_chunks()
        if pa.types.is_string(values.type):
            values = pc.utf8_trim_whitespace(values)
            if name in YES_NO_COLUMNS:
                values = pa.array([YES_NO[value] for value in values.to_pylist()])
            values = pc.if_else(pc.equal(values, "?"), pa.scalar(None, pa.string()), values)
        columns[name] = values
    columns["year"] = pc.add(columns["year"], 1900)
    columns[TARGET] = pc.equal(columns[TARGET], "50000+.")
    del columns["instance_weight"]  # the file's own documentation asks not to learn from it
    return pa.table(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/hardgrad/tabular/data/census.parquet"))
    options = parser.parse_args()
    with atomic_path(options.out) as temporary:
        pq.write_table(make(options.source), temporary, compression="zstd", compression_level=19)
    print(f"wrote {options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
