"""Who looks at a page: known from its request on, and asked for anew whenever the page acts."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Self, TypeVar

import anyio
from fastapi import Request
from sqlalchemy.orm import Session

from api.limits import count_request
from api.runtime import Runtime
from services import access, keys
from services.access import Caller
from services.errors import ForbiddenError, UnauthenticatedError
from services.installation import Installation
from services.workbench import Bench

Result = TypeVar("Result")


class Visitor:
    """The caller of a page, and what the page may do for them.

    A page stays open for days: each question and action finds out first whether its visitor would
    still be let in. All three run in a thread, and raise UnauthenticatedError for one who would
    not, ForbiddenError for one without the scope, and what the function raises.
    """

    def __init__(self, runtime: Runtime, caller: Caller) -> None:
        self.runtime = runtime
        self.caller = caller

    @classmethod
    def of(cls, request: Request) -> Self:
        """The visitor whom the Guard has let in with a page's request."""
        return cls(request.scope["state"]["runtime"], request.state.caller)

    @property
    def may_write(self) -> bool:
        """Whether to show what changes things."""
        return self.caller.may("write")

    @property
    def is_admin(self) -> bool:
        """Whether to show what is for administrators."""
        return self.caller.may("admin")

    async def read(self, ask: Callable[[Session, Caller], Result]) -> Result:
        """What `ask` finds in the database."""

        def work() -> Result:
            with self.runtime.installation.database.read() as session:
                self._admit(session, "read")
                return ask(session, self.caller)

        return await anyio.to_thread.run_sync(work)

    async def write(
        self, change: Callable[[Session, Caller], Result], *, needs: access.Scope = "write"
    ) -> Result:
        """What `change` does, in one transaction."""
        await self._count()

        def work() -> Result:
            with self.runtime.installation.database.write() as session:
                self._admit(session, needs)
                return change(session, self.caller)

        return await anyio.to_thread.run_sync(work)

    async def do(
        self, action: Callable[[Installation, Caller], Result], *, needs: access.Scope = "read"
    ) -> Result:
        """What `action` does, with transactions of its own."""
        await self._count()

        def work() -> Result:
            with self.runtime.installation.database.read() as session:
                self._admit(session, needs)
            return action(self.runtime.installation, self.caller)

        return await anyio.to_thread.run_sync(work)

    def bench(self) -> AbstractAsyncContextManager[Bench]:
        """A turn of the visitor's at work that needs torch."""
        return self.runtime.workbench.turn(self.caller.owner)

    def _admit(self, session: Session, needs: access.Scope) -> None:
        if keys.shut_out(session, [self.caller]):
            raise UnauthenticatedError("the session has ended: log in again")
        if not self.caller.may(needs):
            raise ForbiddenError(f"this needs an API key with the scope {needs}")

    async def _count(self) -> None:
        """What a person does counts as requests of their key do."""
        await count_request(self.runtime.rates, self.caller)
