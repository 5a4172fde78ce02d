"""The columns that the ledger's tables are made of, and the metadata that knows them all."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Text, false, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Counter = BigInteger().with_variant(Integer, "sqlite")


def text_column(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def instant_column(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def maybe_column(name: str) -> Column[int | None]:
    return Column(name, BigInteger, nullable=True)


def flag_column(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def number_column(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def key_column(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)
