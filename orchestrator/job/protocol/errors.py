"""The error of a record that cannot be read, apart from `encoding` so that `orch status` starts faster."""

from __future__ import annotations


class RecordError(ValueError):
    """A record that cannot be read: where it is, the field, what was wanted there and what was found."""

    def __init__(self, field: str, wanted: str, found: str, where: str = "") -> None:
        place = ": ".join(part for part in (where, field) if part)
        super().__init__(f"{place or 'record'}: wanted {wanted}, found {found}")
        self.field, self.wanted, self.found = field, wanted, found

    def within(self, field: str = "", where: str = "") -> RecordError:
        """The same error, one level further out."""
        path = f"{field}.{self.field}".strip(".") if field else self.field
        return type(self)(path, self.wanted, self.found, where)
