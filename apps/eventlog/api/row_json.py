"""A row as one JSON object, written by the database."""

from typing import Any

from django.db.models import BooleanField, DateTimeField, Func, JSONField, Model, TextField, UUIDField

# How a column becomes JSON if the engine would write it in another way than the declared field does.
POSTGRESQL: dict[type, str] = {
    DateTimeField: """replace(to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')""",
}
SQLITE: dict[type, str] = {
    DateTimeField: "replace({0}, ' ', 'T') || 'Z'",
    UUIDField: "substr({0}, 1, 8) || '-' || substr({0}, 9, 4) || '-' || substr({0}, 13, 4)"
    " || '-' || substr({0}, 17, 4) || '-' || substr({0}, 21)",
    BooleanField: "json(iif({0}, 'true', 'false'))",
    JSONField: "json({0})",
}


class Json(Func):
    """One JSON object of columns and annotations, by their names."""

    output_field = TextField()

    def __init__(self, model: type[Model], names: tuple[str, ...]) -> None:
        super().__init__(*names)
        columns = {field.attname: type(field) for field in model._meta.concrete_fields}
        self.names = {name: columns.get(name, TextField) for name in names}

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        return self._object("json_build_object({0})::text", POSTGRESQL, compiler)

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return self._object("json_object({0})", SQLITE, compiler)

    def _object(self, template: str, forms: dict[Any, str], compiler: Any) -> tuple[str, list[Any]]:
        pairs, parameters = [], []
        for (name, kind), column in zip(self.names.items(), self.get_source_expressions(), strict=True):
            sql, given = compiler.compile(column)
            pairs.append(f"'{name}', {forms.get(kind, '{0}').format(sql)}")
            parameters += given
        return template.format(", ".join(pairs)), parameters
