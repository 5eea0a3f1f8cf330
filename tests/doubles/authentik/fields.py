"""
Fields of objects as the API takes them: what they accept, what they make of it, and with which words they refuse.
"""

import copy
import datetime
import re
import uuid

REQUIRED = ["This field is required."]
NUL = "\x00"
DURATION = re.compile(r"(?:(?:microseconds|milliseconds|seconds|minutes|hours|days|weeks)=-?\d+(?:;|$))+")
SLUG = re.compile(r"[-a-zA-Z0-9_]+")
URL = re.compile(r"(?:https?|ftps?)://[^\s/?#@]+(?:[/?#]\S*)?", re.IGNORECASE)
EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
TRUE, FALSE = (True, "true", "True", "1", 1, "yes", "on"), (False, "false", "False", "0", 0, "no", "off")
UNSET = object()


class Invalid(Exception):
    """A value that is refused: ``detail`` is what the answer says, a list of sentences or something nested."""

    def __init__(self, detail):
        super().__init__(detail)
        self.detail = [detail] if isinstance(detail, str) else detail


class Field:
    """Something that an object has and a client may set."""

    kind = "field"  # what OPTIONS calls it

    def __init__(self, required=False, null=False, default=UNSET, unique=None, label=None, help_text=None):
        self.required, self.null, self.unique = required, null, unique
        self.label, self.help_text = label, help_text
        self._default = default

    def default(self):
        """The value that an object gets if a client leaves it out."""
        if self._default is UNSET:
            return None
        return self._default() if callable(self._default) else copy.deepcopy(self._default)

    def clean(self, value, store):
        if value is None:
            if self.null:
                return None
            raise Invalid("This field may not be null.")
        return self.convert(value, store)

    def convert(self, value, store):
        return value


class Text(Field):
    kind = "string"

    def __init__(self, blank=False, longest=None, check=None, **options):
        options.setdefault("default", "")
        super().__init__(**options)
        self.blank, self.longest, self.check = blank, longest, check

    def convert(self, value, store):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Invalid("Not a valid string.")
        value = str(value).strip()
        if not value and not self.blank:
            raise Invalid("This field may not be blank.")
        if NUL in value:
            raise Invalid("Null characters are not allowed.")
        if self.longest and len(value) > self.longest:
            raise Invalid(f"Ensure this field has no more than {self.longest} characters.")
        if self.check and value:
            self.check(value)
        return value


def slug(quotes="“”"):
    """The check of a slug; one endpoint has other quotation marks than the rest."""

    def check(value):
        if not SLUG.fullmatch(value):
            words = f"Enter a valid {quotes[0]}slug{quotes[1]} consisting of letters, numbers, underscores or hyphens."
            raise Invalid(words)

    return check


def url(value):
    if not URL.fullmatch(value):
        raise Invalid("Enter a valid URL.")


def formatted(value):
    """The check of a URL that may have placeholders, ``%(username)s``."""
    url(re.sub(r"%\([a-z_]+\)s", "x", value))


def email(value):
    if not EMAIL.fullmatch(value):
        raise Invalid("Enter a valid email address.")


def duration(value):
    if not DURATION.fullmatch(value):
        raise Invalid(f"{value} is not in the correct format of 'hours=3;minutes=1'.")


def timedelta(text):
    """What a duration like ``hours=3;minutes=1`` is."""
    pairs = (part.partition("=") for part in text.split(";") if part)
    return datetime.timedelta(**{unit: int(number) for unit, _, number in pairs})


class Boolean(Field):
    kind = "boolean"

    def convert(self, value, store):
        if not isinstance(value, list | dict):
            if value in TRUE:
                return True
            if value in FALSE:
                return False
        raise Invalid("Must be a valid boolean.")


class Integer(Field):
    kind = "integer"

    def __init__(self, least=-(2**31), most=2**31 - 1, **options):
        super().__init__(**options)
        self.least, self.most = least, most

    def convert(self, value, store):
        try:
            if isinstance(value, bool):
                raise ValueError
            number = int(str(value).removesuffix(".0"))
        except ValueError:
            raise Invalid("A valid integer is required.") from None
        if number > self.most:
            raise Invalid(f"Ensure this value is less than or equal to {self.most}.")
        if number < self.least:
            raise Invalid(f"Ensure this value is greater than or equal to {self.least}.")
        return number


class Choice(Field):
    def __init__(self, *choices, **options):
        super().__init__(**options)
        self.choices = choices

    def convert(self, value, store):
        if value not in self.choices:
            raise Invalid(f'"{value}" is not a valid choice.')
        return value


class Mapping(Field):
    """A JSON object."""

    def __init__(self, **options):
        super().__init__(**{"default": dict, **options})

    def convert(self, value, store):
        if not isinstance(value, dict):
            raise Invalid("Value must be a dictionary, and not have any duplicate keys.")
        return value


class Moment(Field):
    def convert(self, value, store):
        try:
            return datetime.datetime.fromisoformat(value).isoformat().replace("+00:00", "Z")
        except (TypeError, ValueError):
            words = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]]"
            raise Invalid(f"{words}[+HH:MM|-HH:MM|Z].") from None


class Reference(Field):
    """
    Another object, by its primary key.

    to
        The tables where it may be.

    cascade
        Whether this object goes with it; if not, the field is emptied.
    """

    def __init__(self, *to, cascade=False, **options):
        super().__init__(**options)
        self.to, self.cascade = to, cascade

    def convert(self, value, store):
        if isinstance(value, bool | list | dict):
            raise Invalid(f"Incorrect type. Expected pk value, received {type(value).__name__}.")
        found = None
        if store.numbered(self.to[0]):
            if isinstance(value, str) and not value.isdigit():
                raise Invalid(f"Incorrect type. Expected pk value, received {type(value).__name__}.")
            key = int(value) if isinstance(value, int | str) else value
        else:
            key = self._uuid(value)
        found = next((key for table in self.to if key in store.tables[table]), None)
        if found is None:
            raise Invalid(f'Invalid pk "{value}" - object does not exist.')
        return found

    @staticmethod
    def _uuid(value):
        if not isinstance(value, str):
            return value
        try:
            return str(uuid.UUID(value))
        except ValueError:
            raise Invalid(f"“{value}” is not a valid UUID.") from None


class References(Field):
    """Several other objects; each is there once."""

    def __init__(self, *to, **options):
        super().__init__(**{"default": list, **options})
        self.one = Reference(*to)
        self.to = to

    def convert(self, value, store):
        if not isinstance(value, list):
            raise Invalid(f'Expected a list of items but got type "{type(value).__name__}".')
        return list(dict.fromkeys(self.one.clean(key, store) for key in value))


class Nested(Field):
    """A list of small objects with fields of their own, such as redirect URIs."""

    def __init__(self, fields, check=None, **options):
        super().__init__(**{"default": list, **options})
        self.fields, self.check = fields, check

    def convert(self, value, store):
        if not isinstance(value, list):
            words = f'Expected a list of items but got type "{type(value).__name__}".'
            raise Invalid({"non_field_errors": [words]})
        cleaned, errors = [], []
        for one in value:
            try:
                cleaned.append(clean_all(self.fields, one, store))
                errors.append({})
            except Invalid as error:
                errors.append(error.detail)
        if any(errors):
            raise Invalid(errors)
        if self.check:
            for one in cleaned:
                self.check(one)
        return cleaned


def clean_all(fields, data, store, partial=False, defaults=True, refine=None):
    """
    Return the cleaned values of some data.

    partial
        Whether what is required may be left out.

    defaults
        Whether what is left out gets its default.

    refine
        Called with the name of a field and its cleaned value: what depends on the object.

    Raises Invalid with the errors of all fields.
    """
    if data is None:
        raise Invalid({"non_field_errors": ["No data provided"]})
    if not isinstance(data, dict):
        words = f"Invalid data. Expected a dictionary, but got {type(data).__name__}."
        raise Invalid({"non_field_errors": [words]})
    values, errors = {}, {}
    for name, field in fields.items():
        if name not in data:
            if field.required and not partial:
                errors[name] = REQUIRED
            elif defaults:
                values[name] = field.default()
            continue
        try:
            value = field.clean(data[name], store)
            values[name] = refine(name, value) if refine else value
        except Invalid as error:
            errors[name] = error.detail
    if errors:
        raise Invalid(errors)
    return values
