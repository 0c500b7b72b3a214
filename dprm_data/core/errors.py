"""The whole error policy on one page.

A *user's mistake* (a wrong recipe, a missing file, a key that is not set) is a `DprmError`: one clear message that says what is
wrong, where, and what to do. The command line prints it without a traceback and exits with its `exit_code`.

A *provider's failure* on one call (a refusal, a truncated or unreadable answer, retries that ran out) is data, not an exception: it
becomes an annotation with a status and a reason (`dprm_data.engine`). Only what dooms every further call (a dead key, an empty
account) is raised.

Anything else is a bug in dprm-data and keeps its traceback.
"""

from __future__ import annotations


class DprmError(Exception):
    """A mistake or an obstacle that the user can act on.

    `message` says what is wrong and where (file, row, field); `hint` says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class InputError(DprmError):
    """What the user gave cannot be used as it is."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe that is not valid: names the file, the line or field, what was found and what is allowed."""


class SourceError(InputError):
    """A source of items that cannot be read."""


class LabelSpaceError(InputError):
    """A label space that is not one: unknown name, rewards or axes that do not fit, a ground cost that is no cost."""


class PanelError(InputError):
    """A panel of personas that cannot be used."""


class PromptError(InputError):
    """A prompt template that cannot be rendered."""


class VotesError(InputError):
    """A table of votes that cannot be read as votes on the label space."""


class PriceUnknown(InputError):
    """No price is known for the model, and the recipe does not say what to do about it."""


class LedgerError(DprmError):
    """The ledger cannot be opened or written: nothing acknowledged is lost, nothing further is sent."""


class RunBusy(DprmError):
    """Another process works in the same run folder or on the same ledger."""


class ProviderUnusable(DprmError):
    """No call to this provider can succeed: the key is refused, the account is empty, the server cannot be reached."""


class PublishError(DprmError):
    """The Hub refuses a publication, or publishing it would do harm: what is there stays as it is."""


class ReviewError(DprmError):
    """People's answers cannot be fetched, sent or read: what they have said so far stays as it is."""


class BudgetReached(DprmError):
    """The budget does not cover the next call. What was bought is kept and usable."""

    exit_code = 3


class Interrupted(DprmError):
    """The user stopped the run. What was answered is kept."""

    exit_code = 130
