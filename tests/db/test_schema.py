"""The schema, and what SQLAlchemy believes of it."""

from __future__ import annotations

from sqlalchemy import Engine, inspect

from cigri.db.tables import Table


def test_tables_as_sqlalchemy_sees_them_are_those_of_the_schema(engine: Engine) -> None:
    inspector = inspect(engine)
    real = {
        name: {column["name"]: column["nullable"] for column in inspector.get_columns(name)}
        for name in [*inspector.get_table_names(), *inspector.get_view_names()]
        if name != "schema_migrations"
    }
    views = set(inspector.get_view_names())
    ours = {
        name: {column.name: bool(column.nullable) or name in views for column in table.columns}
        for name, table in Table.metadata.tables.items()
    }
    assert ours == real


def test_enums_have_the_words_of_the_code(engine: Engine) -> None:
    real = {enum["name"]: enum["labels"] for enum in inspect(engine).get_enums()}
    ours = {
        column.type.name: column.type.enums
        for table in Table.metadata.tables.values()
        for column in table.columns
        if hasattr(column.type, "enums")
    }
    assert ours == real
