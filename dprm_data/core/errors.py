"""Exceptions, and the policy for when to raise them.

A *user's mistake* (a wrong recipe, a missing file, a key that is not set) is a `DprmError`: one message that says what is wrong,
where, and what to do. The command line prints it without a traceback and exits with its `exit_code`.

A *provider's failure* on one call (a refusal, a truncated or unreadable answer, exhausted retries) is data, not an exception: it
becomes an annotation with a status and a reason (`dprm_data.engine`). Only a failure that affects every further call (a
revoked key, an empty account) is raised.

Any other exception is a bug in dprm-data and keeps its traceback.
"""

from __future__ import annotations

from dprm_data.core.text import visible


class DprmError(Exception):
    """An error that the user can act on.

    `message` says what is wrong and where (file, row, field); `hint` says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the message, which may quote strangers' texts."""
        return [f"{type(self).__name__}: {visible(str(self))}"]


class InputError(DprmError):
    """Input that cannot be used."""

    exit_code = 2


class RecipeError(InputError):
    """An invalid recipe. The message names the file, the line or field, the value found and the values allowed."""


class SourceError(InputError):
    """A source of items that cannot be read."""


class LabelSpaceError(InputError):
    """An invalid label space: an unknown name, rewards or axes that do not match, or an invalid ground cost."""


class PanelError(InputError):
    """A panel of personas that cannot be used."""


class PromptError(InputError):
    """A prompt template that cannot be rendered."""


class VotesError(InputError):
    """A table that cannot be read as votes on the label space."""


class PriceUnknown(InputError):
    """The model's price is unknown and the recipe neither sets one nor allows that."""


class LedgerError(DprmError):
    """The ledger cannot be opened or written. Nothing acknowledged is lost, and nothing further is sent."""


class RunBusy(DprmError):
    """Another process is using the run folder or the ledger."""


class ProviderUnusable(DprmError):
    """No call to this provider can succeed: the key is refused, the account is empty, the server cannot be reached."""


class PublishError(DprmError):
    """The Hub rejects a publication, or publishing it would do harm. The repository stays unchanged."""


class ReviewError(DprmError):
    """People's answers cannot be fetched, sent or read. The answers collected so far stay unchanged."""


class BudgetReached(DprmError):
    """The budget does not cover the next call. All answers so far are kept."""

    exit_code = 3


class Interrupted(DprmError):
    """The user stopped the run. All answers so far are kept. at_once: without waiting for what was under way."""

    exit_code = 130
    at_once = False
