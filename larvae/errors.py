"""Errors that are the user's to mend, and errors that end one member only."""


class InvalidInputError(ValueError):
    """The user's input breaks a rule. The message is one line that states rule and value."""


class NonFiniteLossError(ArithmeticError):
    """A loss became NaN or infinite: this member has failed, the others go on."""
